"""Reading a list of tickers from a file: a ticker per line, or CSV with spells of membership."""

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.market.tickers import EXPECTED_NAME, is_ticker, printable, shortened

SPELLINGS = {
    "ticker": "ticker",
    "tickers": "ticker",
    "symbol": "ticker",
    "member_from": "member_from",
    "from": "member_from",
    "start": "member_from",
    "start_date": "member_from",
    "since": "member_from",
    "member_until": "member_until",
    "until": "member_until",
    "end": "member_until",
    "end_date": "member_until",
    "to": "member_until",
}
"""The columns of a list by the names that people give them; other columns are not read."""

LIST_SUFFIXES = (".csv", ".txt")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_SHOWN = 80


@dataclass(frozen=True)
class Spell:
    """A stretch of membership, both days included; None: since ever, or until further notice."""

    ticker: str
    member_from: date | None
    member_until: date | None


@dataclass(frozen=True)
class _Row:
    line: int
    spell: Spell


Told = Callable[[int, str, str], UsageError]
"""The error about a line: its number, what was found there, what was expected."""


def find_list(named: Path, lists: Path) -> Path:
    """The file at that path, or the one in the folder of lists whose name, but for .csv or .txt, it is.

    Raises UsageError, naming the lists there are, where a plain name is neither.
    """
    if len(named.parts) != 1 or named.suffix in LIST_SUFFIXES or named.is_file():
        return named
    kept = sorted(path for path in lists.glob("*") if path.suffix in LIST_SUFFIXES)
    own = [path for path in kept if path.stem == named.name]
    if len(own) == 1:
        return own[0]
    found = f"{len(own)} lists" if own else "no file and no list"
    there = shortened(path.stem for path in kept)
    raise UsageError(
        f"found {found} named {printable(named.name)!r}, expected a file, or one list {named.name}.csv or "
        f"{named.name}.txt in {lists}; it holds {there}"
    )


def read_spells(path: Path) -> tuple[Spell, ...]:
    """The spells of the file in its order; a list without dates gives an open spell per ticker.

    Raises UsageError, naming the line, where anything is not as expected.
    """

    def told(line: int, found: str, expected: str) -> UsageError:
        shown = printable(found)
        return UsageError(f"line {line} of {path}: found {shown!r}, expected {expected}; correct the file")

    rows = _parsed(path, told)
    header = _header(rows[0][1]) if rows else []
    found = _with_dates(rows, header, told) if "ticker" in header else [_plain(*row, told) for row in rows]
    if not found:
        raise UsageError(f"found no ticker in {path}, expected one per line, or CSV with a column ticker; add some")
    _refuse_overlap(found, told)
    return tuple(row.spell for row in found)


def _parsed(path: Path, told: Told) -> list[tuple[int, list[str]]]:
    """The file's lines that say something, each with its number, as cells without blanks around them."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:  # not UTF-8, or not a path at all
        expected = "expected UTF-8 text with one ticker per line, or CSV"
        raise UsageError(f"cannot read {path}: {str(error)[:_SHOWN]}; {expected}") from error
    rows = [(number, _cells(number, line.strip(), told)) for number, line in enumerate(lines, 1)]
    return [(number, cells) for number, cells in rows if any(cells)]


def _cells(number: int, line: str, told: Told) -> list[str]:
    quoted = '"' in line and not line.startswith("#")  # what looks like a comment may be part of a quoted cell
    said = line if quoted else _COMMENT.sub("", line)
    try:
        return [cell.strip() for row in csv.reader([said], strict=True, skipinitialspace=True) for cell in row]
    except csv.Error as error:
        raise told(number, line, f"cells with commas between them ({error})") from error


def _header(cells: Sequence[str]) -> list[str]:
    """The columns' own names, an unknown one in lower case."""
    plain = [cell.lower().replace(" ", "_").replace("-", "_") for cell in cells]
    return [SPELLINGS.get(name, name) for name in plain]


def _plain(line: int, cells: list[str], told: Told) -> _Row:
    if len(cells) > 1:
        raise told(line, ",".join(cells), "one ticker per line, or a header ticker,member_from,member_until on line 1")
    return _Row(line, Spell(_name(line, cells[0], told), None, None))


def _with_dates(rows: list[tuple[int, list[str]]], header: list[str], told: Told) -> list[_Row]:
    twice = [name for name in dict.fromkeys(SPELLINGS.values()) if header.count(name) > 1]
    if twice:
        raise told(rows[0][0], ",".join(rows[0][1]), f"one column that means {twice[0]}")
    return [_Row(line, _spell(line, cells, header, told)) for line, cells in rows[1:]]


def _spell(line: int, cells: list[str], header: list[str], told: Told) -> Spell:
    if len(cells) != len(header):
        raise told(line, ",".join(cells), f"{len(header)} cells with commas between them, as in the header")
    cell = dict(zip(header, cells, strict=True))
    begin, end = (_day(line, cell.get(name, ""), told) for name in ("member_from", "member_until"))
    if begin and end and end < begin:
        raise told(line, f"{begin} to {end}", "a first day of membership that is not after the last")
    return Spell(_name(line, cell["ticker"], told), begin, end)


def _name(line: int, text: str, told: Told) -> str:
    if not is_ticker(text):
        raise told(line, text, f"a ticker: {EXPECTED_NAME}")
    return text


def _day(line: int, text: str, told: Told) -> date | None:
    if not text:
        return None
    try:
        if _ISO_DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass  # such as February 30: told below like any other text
    raise told(line, text, "a day such as 2024-11-29, or nothing")


def _refuse_overlap(rows: Iterable[_Row], told: Told) -> None:
    """A ticker may be listed again only for a later spell; names that differ in case alone are the same ticker."""
    by_ticker: dict[str, list[_Row]] = {}
    for row in rows:
        by_ticker.setdefault(row.spell.ticker.upper(), []).append(row)
    for own in by_ticker.values():
        ordered = sorted(own, key=lambda row: row.spell.member_from or date.min)
        for former, later in pairwise(ordered):
            if (later.spell.member_from or date.min) <= (former.spell.member_until or date.max):
                expected = f"it once, or spells that do not overlap (it is on line {former.line} too)"
                raise told(later.line, later.spell.ticker, expected)
