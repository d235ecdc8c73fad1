"""How the terminal is written to."""

from __future__ import annotations

import json
from typing import Any

from rich.console import Console
from rich.table import Table

console = Console(highlight=False)


def print_json(value: Any) -> None:
    """Write one JSON document."""
    console.print_json(json.dumps(value, ensure_ascii=False, default=str))


def table(*columns: str) -> Table:
    """Return an empty table in our style."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(column, overflow="fold")
    return made
