"""A table of the report as a plain value: the text of its cells, and which rows and cells are highlighted."""

from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.wording import UNDEFINED


@dataclass(frozen=True)
class Cell:
    """One number as text, smaller lines below it, and the name of its colour where it has one."""

    text: str
    notes: tuple[str, ...] = ()
    colour: str = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """The smaller lines that are not empty."""
        return tuple(note for note in self.notes if note)


NOTHING = Cell("")


@dataclass(frozen=True)
class Column:
    """Heading of a column, and below it in small its unit, scale or which values are good."""

    label: str
    unit: str = ""


@dataclass(frozen=True)
class Row:
    """One row: its name, a smaller line below the name, its cells, and whether it is the row of the model."""

    name: str
    cells: tuple[Cell, ...]
    note: str = ""
    marked: bool = False


@dataclass(frozen=True)
class ReportTable:
    """A table with a label for screen readers, and a caption."""

    label: str
    first: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str = ""


def report_table(
    label: str, first: str, columns: Sequence[Column], rows: Sequence[Row], caption: str = ""
) -> ReportTable:
    """Return the table, without the columns that have no number in any row."""
    kept = [k for k in range(len(columns)) if any(row.cells[k].text not in ("", UNDEFINED) for row in rows)]
    shown = [Row(row.name, tuple(row.cells[k] for k in kept), row.note, row.marked) for row in rows]
    return ReportTable(label, first, tuple(columns[k] for k in kept), tuple(shown), caption)
