"""Data from elsewhere: benchmark files, and how their rows become examples."""

from tooln1_agent.datasets.benchmark import BenchmarkRow, read_benchmark
from tooln1_agent.datasets.imports import ImportReport, import_rows, label_from_rows

__all__ = ["BenchmarkRow", "ImportReport", "import_rows", "label_from_rows", "read_benchmark"]
