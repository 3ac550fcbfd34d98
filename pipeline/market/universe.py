"""The universe: the tickers of a run, and when each of them was a member."""

import csv
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np

from pipeline.arrays import Booleans, Sessions
from pipeline.errors import UsageError
from pipeline.market.listings import EXPECTED_NAME, is_ticker, printable, shortened

MIN_SPAN_DAYS = 365
"""Over a shorter test few companies fail, and no warning of survivorship bias is given."""

COLUMN_NAMES = {
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
"""The columns of a list by the names that users give them; other columns are not read."""

LIST_SUFFIXES = (".csv", ".txt")
_COMMENT = re.compile(r"(?:^|\s)#.*")
_ISO_DAY = re.compile(r"\d{4}-\d{2}-\d{2}")
_SHOWN = 80


@dataclass(frozen=True)
class MembershipPeriod:
    """A period of membership, both days included; None: without a first or a last day."""

    ticker: str
    member_from: date | None
    member_until: date | None


@dataclass(frozen=True)
class Universe:
    """A named list of tickers, each once, and their periods of membership; none where the list has no dates."""

    name: str
    tickers: tuple[str, ...]
    memberships: tuple[MembershipPeriod, ...] = ()


def read_universe(named: Path, lists: Path) -> Universe:
    """Return the universe of a file, or of the list of that name in the folder of lists.

    It holds a ticker per line, or is CSV with ticker, member_from and member_until. Raises UsageError where there is
    no such list, and, naming the line, where it cannot be read, holds no ticker, a bad name, a ticker twice,
    unreadable dates or dates in the wrong order, or periods of one ticker that overlap.
    """
    path = find_list(named, lists)
    periods = read_memberships(path)
    dated = any(period.member_from or period.member_until for period in periods)
    tickers = tuple(dict.fromkeys(period.ticker for period in periods))
    return Universe(path.stem, tickers, periods if dated else ())


def membership_mask(universe: Universe, tickers: Sequence[str], sessions: Sessions) -> Booleans:
    """Return whether each ticker was a member [ticker, session]; everywhere True where the universe has no dates.

    A ticker that a dated list does not name was never a member.
    """
    if not universe.memberships:
        return np.ones((len(tickers), len(sessions)), dtype=bool)
    member = np.zeros((len(tickers), len(sessions)), dtype=bool)
    row = {ticker: at for at, ticker in enumerate(tickers)}
    for period in universe.memberships:
        if period.ticker in row:
            begin = np.searchsorted(sessions, _day(period.member_from or date.min), "left")
            end = np.searchsorted(sessions, _day(period.member_until or date.max), "right")
            member[row[period.ticker], begin:end] = True
    return member


def members_on(universe: Universe, day: date) -> tuple[str, ...]:
    """Return the tickers that are members on a day, in the order of the list; raises UsageError where there is none."""
    if not universe.memberships:
        return universe.tickers
    found = {
        period.ticker: None
        for period in universe.memberships
        if (period.member_from or date.min) <= day <= (period.member_until or date.max)
    }
    if not found:
        raise UsageError(
            f"found no member of the universe {universe.name} on {day}, expected one at least; correct the dates of "
            "its list"
        )
    return tuple(found)


def survivorship_warning(
    universe: Universe | None,
    tickers: Sequence[str],
    first_tested: np.datetime64 | date,
    last_tested: np.datetime64 | date,
) -> str | None:
    """Return the warning for a test of today's list on the past; None where it does not apply.

    It does not apply where membership dates are known, or where less than a year is tested.
    """
    first, last = _day(first_tested), _day(last_tested)
    if (universe and universe.memberships) or last - first < np.timedelta64(MIN_SPAN_DAYS, "D"):
        return None
    years = dict.fromkeys(str(day.astype("datetime64[Y]")) for day in (first, last))
    chosen = "This ticker was" if len(tickers) == 1 else f"These {len(tickers)} tickers were"
    tested = "is" if len(tickers) == 1 else "are"
    return (
        f"{chosen} chosen today and {tested} tested on {' to '.join(years)}: companies that failed since are missing, "
        "so results look better than they were (survivorship). A list with membership dates avoids that."
    )


def _day(day: np.datetime64 | date) -> np.datetime64:
    plain: np.datetime64 = np.array([day], "datetime64[D]")[0]
    return plain


@dataclass(frozen=True)
class _Row:
    line: int
    period: MembershipPeriod


LineError = Callable[[int, str, str], UsageError]
"""A function that returns the error about a line, from its number, what was found there and what was expected."""


def find_list(named: Path, lists: Path) -> Path:
    """Return the file at that path, or the list of that name, .csv or .txt, in the folder of lists.

    Raises UsageError, naming the existing lists, where a plain name is neither.
    """
    if len(named.parts) != 1 or named.suffix in LIST_SUFFIXES or named.is_file():
        return named
    present = sorted(path for path in lists.glob("*") if path.suffix in LIST_SUFFIXES)
    matching = [path for path in present if path.stem == named.name]
    if len(matching) == 1:
        return matching[0]
    found = f"{len(matching)} lists" if matching else "no file and no list"
    there = shortened(path.stem for path in present)
    raise UsageError(
        f"found {found} named {printable(named.name)!r}, expected a file, or one list {named.name}.csv or "
        f"{named.name}.txt in {lists}; it holds {there}"
    )


def read_memberships(path: Path) -> tuple[MembershipPeriod, ...]:
    """Return the periods of membership in the order of the file; without dates, one open period per ticker.

    Raises UsageError, naming the line, where anything is not as expected.
    """

    def error_at(line: int, found: str, expected: str) -> UsageError:
        shown = printable(found)
        return UsageError(f"line {line} of {path}: found {shown!r}, expected {expected}; correct the file")

    rows = _parsed(path, error_at)
    header = _header(rows[0][1]) if rows else []
    periods = _with_dates(rows, header, error_at) if "ticker" in header else [_plain(*row, error_at) for row in rows]
    if not periods:
        raise UsageError(f"found no ticker in {path}, expected one per line, or CSV with a column ticker; add some")
    _refuse_overlap(periods, error_at)
    return tuple(row.period for row in periods)


def _parsed(path: Path, error_at: LineError) -> list[tuple[int, list[str]]]:
    """Return the lines that are not empty, each with its number, as cells without surrounding blanks."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:  # not UTF-8, or not a path at all
        expected = "expected UTF-8 text with one ticker per line, or CSV"
        raise UsageError(f"cannot read {path}: {str(error)[:_SHOWN]}; {expected}") from error
    rows = [(number, _cells(number, line.strip(), error_at)) for number, line in enumerate(lines, 1)]
    return [(number, cells) for number, cells in rows if any(cells)]


def _cells(number: int, line: str, error_at: LineError) -> list[str]:
    quoted = '"' in line and not line.startswith("#")  # a # may be part of a quoted cell
    content = line if quoted else _COMMENT.sub("", line)
    try:
        return [cell.strip() for row in csv.reader([content], strict=True, skipinitialspace=True) for cell in row]
    except csv.Error as error:
        raise error_at(number, line, f"cells with commas between them ({error})") from error


def _header(cells: Sequence[str]) -> list[str]:
    """Return the columns' names as in COLUMN_NAMES, an unknown one in lower case."""
    plain = [cell.lower().replace(" ", "_").replace("-", "_") for cell in cells]
    return [COLUMN_NAMES.get(name, name) for name in plain]


def _plain(line: int, cells: list[str], error_at: LineError) -> _Row:
    if len(cells) > 1:
        raise error_at(
            line, ",".join(cells), "one ticker per line, or a header ticker,member_from,member_until on line 1"
        )
    return _Row(line, MembershipPeriod(_name(line, cells[0], error_at), None, None))


def _with_dates(rows: list[tuple[int, list[str]]], header: list[str], error_at: LineError) -> list[_Row]:
    twice = [name for name in dict.fromkeys(COLUMN_NAMES.values()) if header.count(name) > 1]
    if twice:
        raise error_at(rows[0][0], ",".join(rows[0][1]), f"one column that means {twice[0]}")
    return [_Row(line, _period(line, cells, header, error_at)) for line, cells in rows[1:]]


def _period(line: int, cells: list[str], header: list[str], error_at: LineError) -> MembershipPeriod:
    if len(cells) != len(header):
        raise error_at(line, ",".join(cells), f"{len(header)} cells with commas between them, as in the header")
    cell = dict(zip(header, cells, strict=True))
    begin, end = (_parsed_day(line, cell.get(name, ""), error_at) for name in ("member_from", "member_until"))
    if begin and end and end < begin:
        raise error_at(line, f"{begin} to {end}", "a first day of membership that is not after the last")
    return MembershipPeriod(_name(line, cell["ticker"], error_at), begin, end)


def _name(line: int, text: str, error_at: LineError) -> str:
    if not is_ticker(text):
        raise error_at(line, text, f"a ticker: {EXPECTED_NAME}")
    return text


def _parsed_day(line: int, text: str, error_at: LineError) -> date | None:
    if not text:
        return None
    try:
        if _ISO_DAY.fullmatch(text):
            return date.fromisoformat(text)
    except ValueError:
        pass  # such as February 30: refused below like any other text
    raise error_at(line, text, "a day such as 2024-11-29, or nothing")


def _refuse_overlap(rows: Iterable[_Row], error_at: LineError) -> None:
    """Raise where periods of one ticker overlap; names that differ in case alone are the same ticker."""
    by_ticker: dict[str, list[_Row]] = {}
    for row in rows:
        by_ticker.setdefault(row.period.ticker.upper(), []).append(row)
    for same_ticker in by_ticker.values():
        ordered = sorted(same_ticker, key=lambda row: row.period.member_from or date.min)
        for earlier, later in pairwise(ordered):
            if (later.period.member_from or date.min) <= (earlier.period.member_until or date.max):
                expected = f"it once, or periods that do not overlap (it is on line {earlier.line} too)"
                raise error_at(later.line, later.period.ticker, expected)
