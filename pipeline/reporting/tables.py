"""A table of the report as a plain value: what its cells say, and which rows and cells stand out."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Cell:
    """One number in words, smaller lines below it, and the name of its colour where it has one."""

    text: str
    notes: tuple[str, ...] = ()
    colour: str = ""


@dataclass(frozen=True)
class Row:
    """One row: its name, a smaller line below the name, its cells, and whether it is the model's own."""

    name: str
    cells: tuple[Cell, ...]
    note: str = ""
    marked: bool = False


@dataclass(frozen=True)
class Column:
    """What stands above a column, its unit or scale below it, and whether its cells hold words."""

    label: str
    unit: str = ""
    words: bool = False


@dataclass(frozen=True)
class TableOf:
    """A table with a name for those who cannot see it, and a caption."""

    label: str
    first: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    caption: str = ""


def table_of(label: str, first: str, columns: Sequence[Column], rows: Sequence[Row], caption: str = "") -> TableOf:
    """Return the table, without the columns that no row says anything in."""
    kept = [place for place in range(len(columns)) if any(row.cells[place].text != "" for row in rows)]
    shown = [Row(row.name, tuple(row.cells[place] for place in kept), row.note, row.marked) for row in rows]
    return TableOf(label, first, tuple(columns[place] for place in kept), tuple(shown), caption)
