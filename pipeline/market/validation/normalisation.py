"""Normalisation: rows as delivered are typed, sorted and reduced to one per session, to be stored and checked."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.arrays import Booleans, Floats, Sessions
from pipeline.market.bars import FIELDS, PRICES, Problem
from pipeline.market.parsing import REQUIRED_COLUMNS, cell_text, parsed_numbers, session_dates
from pipeline.market.validation.rules import problem_of

DAYLIGHT_SAVING_MINUTES = 60.0
OLDEST = np.datetime64("1900-01-01")

NO_ROWS = pd.DataFrame(
    {name: pd.Series(dtype="datetime64[s]" if name == "session" else "float64") for name in REQUIRED_COLUMNS}
)


@dataclass(frozen=True, eq=False)
class NormalisedRows:
    """Normalised rows, and the problems found in them.

    `frame`: session (datetime64[s], tz-naive, ascending, each once), open, high, low, close, volume and, where they
    were delivered, adj_close, dividend, split; all but session float64, NaN where there is no number.
    """

    frame: pd.DataFrame
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, eq=False)
class _Parsed:
    """Rows as arrays: local days [row], offsets to UTC in minutes [row], and the fields' numbers [row, field]."""

    day: Sessions
    offset: Floats
    names: tuple[str, ...]
    numbers: Floats

    def at(self, chosen: NDArray[np.generic] | slice) -> "_Parsed":
        return _Parsed(self.day[chosen], self.offset[chosen], self.names, self.numbers[chosen])


_Step = Callable[[str, _Parsed], tuple[_Parsed, list[Problem]]]


def normalise(ticker: str, rows: pd.DataFrame) -> NormalisedRows:
    """Return the ticker's rows normalised; rows that already are so are returned unchanged, at little cost."""
    if is_normalised(rows):
        return NormalisedRows(rows)
    if fault := _column_fault(rows):
        return NormalisedRows(NO_ROWS, (problem_of(ticker, "columns", "all sessions", fault),))
    parsed, problems = _parse(ticker, rows)
    for step in _STEPS:
        parsed, step_problems = step(ticker, parsed)
        problems += step_problems
    return NormalisedRows(_framed(parsed), tuple(problems))


def is_normalised(rows: pd.DataFrame) -> bool:
    """Return whether the rows are normalised and have no other columns."""
    names = list(rows.columns)
    if names[:6] != list(REQUIRED_COLUMNS) or not set(names[6:]) <= set(FIELDS[5:]) or len(set(names)) != len(names):
        return False
    dtypes = rows.dtypes.to_list()
    if dtypes[0] != _SESSION_DTYPE or any(dtype != _NUMBER_DTYPE for dtype in dtypes[1:]):
        return False
    session = rows["session"].to_numpy()
    seconds = session.view(np.int64)
    # NaT is the smallest of all, so it can only be the first one
    return not len(session) or bool(
        session[0] >= OLDEST and (seconds[1:] > seconds[:-1]).all() and not (seconds % _DAY_SECONDS).any()
    )


_SESSION_DTYPE, _NUMBER_DTYPE = np.dtype("datetime64[s]"), np.dtype(np.float64)
_DAY_SECONDS = 86_400


def _column_fault(rows: pd.DataFrame) -> str:
    """Return what is wrong with the columns; an empty text where every required one is there once."""
    names = [str(name) for name in rows.columns]
    lacking = [name for name in REQUIRED_COLUMNS if name not in names]
    twice = [name for name in ("session", *FIELDS) if names.count(name) > 1]
    return "; ".join([f"no column {name}" for name in lacking] + [f"column {name} more than once" for name in twice])


def _parse(ticker: str, rows: pd.DataFrame) -> tuple[_Parsed, list[Problem]]:
    """Return the rows that have a readable date, in the order delivered."""
    dates = session_dates(rows["session"])
    readable = ~np.isnat(dates.day) & (dates.day >= OLDEST)
    names = tuple(name for name in FIELDS if name in rows)
    numbers = (
        np.column_stack([parsed_numbers(rows[name]) for name in names]) if len(rows) else np.empty((0, len(names)))
    )
    parsed = _Parsed(dates.day, dates.offset, names, numbers)
    problems = [*_unreadable_dates(ticker, rows, readable), *_unreadable_numbers(ticker, rows, parsed, readable)]
    return parsed.at(readable), problems


def _unreadable_dates(ticker: str, rows: pd.DataFrame, readable: Booleans) -> list[Problem]:
    bad = np.flatnonzero(~readable)
    return [
        problem_of(ticker, "date", f"row {row + 1}", f"date {cell_text(rows['session'].iloc[row])}", len(bad))
        for row in bad[:1]
    ]


def _unreadable_numbers(ticker: str, rows: pd.DataFrame, parsed: _Parsed, readable: Booleans) -> list[Problem]:
    """Return the note of cells that hold something other than a number; the earliest session's is the example."""
    written = [name for name in parsed.names if rows[name].dtype.kind not in "iuf"]
    if not written:
        return []
    blank = np.isnan(parsed.numbers[:, [parsed.names.index(name) for name in written]])
    filled = np.column_stack([rows[name].notna().to_numpy(bool) for name in written])
    bad = blank & filled & readable[:, None]
    at = np.flatnonzero(bad.any(axis=1))
    if not len(at):
        return []
    row = at[parsed.day[at].argmin()]
    name = written[int(bad[row].argmax())]
    found = f"{name} {cell_text(rows[name].iloc[row])}"
    return [problem_of(ticker, "unreadable_number", str(parsed.day[row]), found, len(at))]


def _sorted(ticker: str, parsed: _Parsed) -> tuple[_Parsed, list[Problem]]:
    back = np.diff(parsed.day.astype(np.int64)) < 0
    if not back.any():
        return parsed, []
    row = int(back.argmax()) + 1
    found = "descending sessions" if back.all() else f"{parsed.day[row]} after {parsed.day[row - 1]}"
    order = np.argsort(parsed.day, kind="stable")
    return parsed.at(order), [problem_of(ticker, "unsorted", str(parsed.day[row]), found, int(back.sum()))]


def _of_one_zone(ticker: str, parsed: _Parsed) -> tuple[_Parsed, list[Problem]]:
    """Return the rows before the session whose clock differs from the first row's by more than daylight saving."""
    if not len(parsed.day) or np.isnan(parsed.offset).all():
        return parsed, []
    first = parsed.offset[0]
    differs = (np.isnan(parsed.offset) != np.isnan(first)) | (np.abs(parsed.offset - first) > DAYLIGHT_SAVING_MINUTES)
    if not differs.any():
        return parsed, []
    row = int(differs.argmax())
    found = f"{_clock(parsed.offset[row])} after {_clock(first)}"
    problem = problem_of(ticker, "time_zone", str(parsed.day[row]), found, int(differs.sum()))
    return parsed.at(parsed.day < parsed.day[row]), [problem]


def _clock(offset: float) -> str:
    return "a date without a time zone" if np.isnan(offset) else f"UTC offset {offset / 60:+g} h"


def _each_once(ticker: str, parsed: _Parsed) -> tuple[_Parsed, list[Problem]]:
    """Return one row per session: one of identical rows, a blank one merged into a priced one, no different ones."""
    again = np.append(False, parsed.day[1:] == parsed.day[:-1])
    if not again.any():
        return parsed, []
    numbers, keep = parsed.numbers.copy(), ~again
    sessions_by_reason: dict[str, list[Sessions]] = {}
    for day in np.unique(parsed.day[again]):
        first, last = parsed.day.searchsorted(day, "left"), parsed.day.searchsorted(day, "right")
        rule, merged = _merged(parsed.numbers[first:last], parsed.names)
        sessions_by_reason.setdefault(rule, []).append(day)
        keep[first] = merged is not None
        numbers[first] = 0.0 if merged is None else merged
    problems = [
        problem_of(ticker, rule, str(days[0]), f"{days[0]} more than once{_DIFFERENT[rule]}", len(days))
        for rule, days in sessions_by_reason.items()
    ]
    return replace(parsed, numbers=numbers).at(keep), problems


_DIFFERENT = {"repeated": "", "parted": ", once without prices", "conflicting": ", with different numbers"}


def _merged(rows: Floats, names: tuple[str, ...]) -> tuple[str, Floats | None]:
    """Return the rule that several rows of one session break, and the row that replaces them; None where none can."""
    distinct = _distinct(rows)
    if len(distinct) == 1:
        return "repeated", distinct[0]
    priced = np.array([not np.isnan(row[[names.index(name) for name in PRICES]]).all() for row in distinct])
    actions = _agreed_actions(distinct, names)
    if priced.sum() == 1 and actions is not None:
        return "parted", _with(distinct[priced][0], actions, names)
    # a row without prices is quarantined later, and its actions move to the next row
    blank = np.full(len(names), np.nan)
    acting = actions is not None and set(actions.items()) - _NO_ACTIONS
    return "conflicting", _with(blank, actions, names) if acting and actions is not None else None


_NO_ACTIONS = {("dividend", 0.0), ("split", 1.0)}


def _distinct(rows: Floats) -> Floats:
    """Return the distinct rows, in the order delivered; -0 equals 0, and blanks are equal."""
    first_at = {
        tuple(np.where(np.isnan(row), np.inf, row + 0.0).tolist()): at for at, row in reversed([*enumerate(rows)])
    }
    return rows[sorted(first_at.values())]


def _agreed_actions(rows: Floats, names: tuple[str, ...]) -> dict[str, float] | None:
    """Return the actions that the rows report; None where two rows report different ones."""
    agreed: dict[str, float] = {}
    for name, none in (("dividend", 0.0), ("split", 1.0)):
        if name not in names:
            continue
        column = rows[:, names.index(name)]
        reported = np.unique(column[~np.isnan(column) & (column != none)])
        if len(reported) > 1:
            return None
        agreed[name] = float(reported[0]) if len(reported) else none
    return agreed


def _with(row: Floats, actions: dict[str, float], names: tuple[str, ...]) -> Floats:
    joined = row.copy()
    for name, value in actions.items():
        joined[names.index(name)] = value
    return joined


_STEPS: tuple[_Step, ...] = (_sorted, _of_one_zone, _each_once)


def _framed(parsed: _Parsed) -> pd.DataFrame:
    columns = {name: parsed.numbers[:, k].copy() for k, name in enumerate(parsed.names)}
    return pd.DataFrame({"session": parsed.day.astype("datetime64[s]"), **columns})
