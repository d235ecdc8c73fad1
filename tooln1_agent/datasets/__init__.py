"""Data from elsewhere and for elsewhere: data sets into examples, a store into files."""

from tooln1_agent.datasets.benchmark import read_benchmark
from tooln1_agent.datasets.forms import read_rows
from tooln1_agent.datasets.imports import ImportReport, import_rows, label_from_rows
from tooln1_agent.datasets.rows import BenchmarkRow, Skipped

__all__ = [
    "BenchmarkRow",
    "ImportReport",
    "Skipped",
    "import_rows",
    "label_from_rows",
    "read_benchmark",
    "read_rows",
]
