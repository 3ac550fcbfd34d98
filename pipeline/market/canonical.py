"""Rows as found brought to the one form that is stored and judged: typed, sorted, each session once."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from numbers import Real

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.market.bars import COLUMNS, PRICES, Problem
from pipeline.market.contract.rules import problem_of
from pipeline.market.session_dates import session_dates

FIELDS = COLUMNS[2:]
REQUIRED = ("session", *PRICES, "volume")
DAYLIGHT_SAVING_MINUTES = 60.0
OLDEST = np.datetime64("1900-01-01")

NO_ROWS = pd.DataFrame(
    {name: pd.Series(dtype="datetime64[s]" if name == "session" else "float64") for name in REQUIRED}
)


@dataclass(frozen=True, eq=False)
class Canonical:
    """Rows in canonical form, and what was found on the way there.

    `frame`: session (datetime64[s], tz-naive, ascending, each once), open, high, low, close, volume and, where they
    were delivered, adj_close, dividend, split; all but session float64, NaN where no number was told.
    """

    frame: pd.DataFrame
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, eq=False)
class _Read:
    """Rows as arrays: the local day, the clock's offset to UTC in minutes, and per row a number for each field."""

    day: NDArray[np.datetime64]
    offset: NDArray[np.float64]
    names: tuple[str, ...]
    numbers: NDArray[np.float64]

    def at(self, chosen: NDArray[np.generic] | slice) -> "_Read":
        return _Read(self.day[chosen], self.offset[chosen], self.names, self.numbers[chosen])


_Step = Callable[[str, _Read], tuple[_Read, list[Problem]]]


def canonical(ticker: str, rows: pd.DataFrame) -> Canonical:
    """The ticker's rows in canonical form; rows that are already are handed on as they are, which costs little."""
    if is_canonical(rows):
        return Canonical(rows)
    if fault := _column_fault(rows):
        return Canonical(NO_ROWS, (problem_of(ticker, "columns", "all sessions", fault),))
    read, problems = _read(ticker, rows)
    for step in _STEPS:
        read, found = step(ticker, read)
        problems += found
    return Canonical(_framed(read), tuple(problems))


def is_canonical(rows: pd.DataFrame) -> bool:
    """Whether the rows are in canonical form, with no other columns."""
    names = list(rows.columns)
    if names[:6] != list(REQUIRED) or not set(names[6:]) <= set(FIELDS[5:]) or len(set(names)) != len(names):
        return False
    dtypes = rows.dtypes.to_list()
    if dtypes[0] != _SESSION_DTYPE or any(dtype != _NUMBER_DTYPE for dtype in dtypes[1:]):
        return False
    session = rows["session"].to_numpy()
    seconds = session.view(np.int64)
    # NaT is the smallest of all, so it can stand first only
    return not len(session) or bool(
        session[0] >= OLDEST and (seconds[1:] > seconds[:-1]).all() and not (seconds % _DAY_SECONDS).any()
    )


_SESSION_DTYPE, _NUMBER_DTYPE = np.dtype("datetime64[s]"), np.dtype(np.float64)
_DAY_SECONDS = 86_400


def _column_fault(rows: pd.DataFrame) -> str:
    """What is wrong with the rows' columns as a whole; nothing where every required one is there once."""
    names = [str(name) for name in rows.columns]
    lacking = [name for name in REQUIRED if name not in names]
    twice = [name for name in ("session", *FIELDS) if names.count(name) > 1]
    return "; ".join([f"no column {name}" for name in lacking] + [f"column {name} more than once" for name in twice])


def _read(ticker: str, rows: pd.DataFrame) -> tuple[_Read, list[Problem]]:
    """The rows that have a readable date as arrays, in the order found."""
    dates = session_dates(rows["session"])
    readable = ~np.isnat(dates.day) & (dates.day >= OLDEST)
    names = tuple(name for name in FIELDS if name in rows)
    numbers = np.column_stack([_floats(rows[name]) for name in names]) if len(rows) else np.empty((0, len(names)))
    read = _Read(dates.day, dates.offset, names, numbers)
    problems = [*_unreadable_dates(ticker, rows, readable), *_unreadable_numbers(ticker, rows, read, readable)]
    return read.at(readable), problems


def _unreadable_dates(ticker: str, rows: pd.DataFrame, readable: NDArray[np.bool_]) -> list[Problem]:
    bad = np.flatnonzero(~readable)
    return [
        problem_of(ticker, "date", f"row {row + 1}", f"date {_shown(rows['session'].iloc[row])}", len(bad))
        for row in bad[:1]
    ]


def _unreadable_numbers(ticker: str, rows: pd.DataFrame, read: _Read, readable: NDArray[np.bool_]) -> list[Problem]:
    """The note of cells that hold something which is no number; the earliest session's is shown."""
    written = [name for name in read.names if rows[name].dtype.kind not in "iuf"]
    if not written:
        return []
    blank = np.isnan(read.numbers[:, [read.names.index(name) for name in written]])
    told = np.column_stack([rows[name].notna().to_numpy(bool) for name in written])
    bad = blank & told & readable[:, None]
    at = np.flatnonzero(bad.any(axis=1))
    if not len(at):
        return []
    row = at[read.day[at].argmin()]
    name = written[int(bad[row].argmax())]
    found = f"{name} {_shown(rows[name].iloc[row])}"
    return [problem_of(ticker, "unreadable_number", str(read.day[row]), found, len(at))]


def _sorted(ticker: str, read: _Read) -> tuple[_Read, list[Problem]]:
    back = np.diff(read.day.astype(np.int64)) < 0
    if not back.any():
        return read, []
    row = int(back.argmax()) + 1
    found = "descending sessions" if back.all() else f"{read.day[row]} after {read.day[row - 1]}"
    order = np.argsort(read.day, kind="stable")
    return read.at(order), [problem_of(ticker, "unsorted", str(read.day[row]), found, int(back.sum()))]


def _of_one_zone(ticker: str, read: _Read) -> tuple[_Read, list[Problem]]:
    """The rows before the session at which a clock differs from the first one's by more than daylight saving."""
    if not len(read.day) or np.isnan(read.offset).all():
        return read, []
    first = read.offset[0]
    other = (np.isnan(read.offset) != np.isnan(first)) | (np.abs(read.offset - first) > DAYLIGHT_SAVING_MINUTES)
    if not other.any():
        return read, []
    row = int(other.argmax())
    found = f"{_clock(read.offset[row])} after {_clock(first)}"
    problem = problem_of(ticker, "time_zone", str(read.day[row]), found, int(other.sum()))
    return read.at(read.day < read.day[row]), [problem]


def _clock(offset: float) -> str:
    return "a date without a time zone" if np.isnan(offset) else f"UTC offset {offset / 60:+g} h"


def _each_once(ticker: str, read: _Read) -> tuple[_Read, list[Problem]]:
    """One row per session: identical ones once, a blank one joined to its session's prices, of different ones none."""
    again = np.append(False, read.day[1:] == read.day[:-1])
    if not again.any():
        return read, []
    numbers, keep = read.numbers.copy(), ~again
    found: dict[str, list[NDArray[np.datetime64]]] = {}
    for day in np.unique(read.day[again]):
        first, last = read.day.searchsorted(day, "left"), read.day.searchsorted(day, "right")
        rule, settled = _settled(read.numbers[first:last], read.names)
        found.setdefault(rule, []).append(day)
        keep[first] = settled is not None
        numbers[first] = 0.0 if settled is None else settled
    problems = [
        problem_of(ticker, rule, str(days[0]), f"{days[0]} more than once{_DIFFERENT[rule]}", len(days))
        for rule, days in found.items()
    ]
    return replace(read, numbers=numbers).at(keep), problems


_DIFFERENT = {"repeated": "", "parted": ", once without prices", "conflicting": ", with different numbers"}


def _settled(rows: NDArray[np.float64], names: tuple[str, ...]) -> tuple[str, NDArray[np.float64] | None]:
    """The rule that several rows of one session break, and the row that stands for them; None where none can."""
    distinct = _distinct(rows)
    if len(distinct) == 1:
        return "repeated", distinct[0]
    priced = np.array([not np.isnan(row[[names.index(name) for name in PRICES]]).all() for row in distinct])
    actions = _agreed_actions(distinct, names)
    if priced.sum() == 1 and actions is not None:
        return "parted", _with(distinct[priced][0], actions, names)
    # without prices the gate puts the row aside, and moves its actions on
    blank = np.full(len(names), np.nan)
    acting = actions is not None and set(actions.items()) - _NO_ACTIONS
    return "conflicting", _with(blank, actions, names) if acting and actions is not None else None


_NO_ACTIONS = {("dividend", 0.0), ("split", 1.0)}


def _distinct(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """The rows that differ, in the order found; -0 is 0, and blanks are alike."""
    alike = {tuple(np.where(np.isnan(row), np.inf, row + 0.0).tolist()): at for at, row in reversed([*enumerate(rows)])}
    return rows[sorted(alike.values())]


def _agreed_actions(rows: NDArray[np.float64], names: tuple[str, ...]) -> dict[str, float] | None:
    """The actions that the rows tell, where no two tell different ones; none where they tell nothing."""
    agreed: dict[str, float] = {}
    for name, none in (("dividend", 0.0), ("split", 1.0)):
        if name not in names:
            continue
        column = rows[:, names.index(name)]
        told = np.unique(column[~np.isnan(column) & (column != none)])
        if len(told) > 1:
            return None
        agreed[name] = float(told[0]) if len(told) else none
    return agreed


def _with(row: NDArray[np.float64], actions: dict[str, float], names: tuple[str, ...]) -> NDArray[np.float64]:
    joined = row.copy()
    for name, value in actions.items():
        joined[names.index(name)] = value
    return joined


_STEPS: tuple[_Step, ...] = (_sorted, _of_one_zone, _each_once)


def _framed(read: _Read) -> pd.DataFrame:
    columns = {name: read.numbers[:, k].copy() for k, name in enumerate(read.names)}
    return pd.DataFrame({"session": read.day.astype("datetime64[s]"), **columns})


def _floats(column: pd.Series) -> NDArray[np.float64]:
    if column.dtype.kind in "iuf":
        return column.to_numpy(np.float64, na_value=np.nan)
    return np.array([_number(cell) for cell in column.astype(object)], np.float64)


def _number(cell: object) -> float:
    """The number in a cell, cell by cell so that no other row has a say in it; NaN where there is none."""
    if isinstance(cell, bool) or not isinstance(cell, str | Real | Decimal) or "_" in str(cell):
        return np.nan
    try:
        return float(cell)
    except (ValueError, OverflowError):
        return np.nan


def _shown(cell: object) -> str:
    shown = ascii(cell) if isinstance(cell, str) else ascii(str(cell))[1:-1]
    return shown if len(shown) <= 40 else shown[:40] + "..."
