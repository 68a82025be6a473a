"""A report on one page that plays: systems side by side, seen, heard and rated blind.

`content` says what it is made from, `page` writes it, `ratings` reads back what listeners chose.
"""

from gan.evaluation.report.content import (
    REAL,
    Confusion,
    Figure,
    Frontier,
    Histogram,
    Measure,
    Point,
    Report,
    Sample,
    System,
    Table,
)
from gan.evaluation.report.page import write_report
from gan.evaluation.report.ratings import read_ratings

__all__ = [
    "REAL", "Confusion", "Figure", "Frontier", "Histogram", "Measure", "Point", "Report", "Sample",
    "System", "Table", "read_ratings", "write_report",
]  # fmt: skip
