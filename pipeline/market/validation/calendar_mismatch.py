"""Whether bars fit the calendar that they are read on, and which calendar fits them better.

A day counts as traded where more than half of the tickers that have bars before and after it have one, and as idle
where hardly any has. A calendar is reported where traded days that it lacks are shared by most of its tickers, and

- another calendar fits clearly better: it explains at least EXPLAINED of the days that contradict the first one (traded
  without being a session, or idle sessions), and in sum at most BETTER times as many days contradict it, or
- no calendar does, but such days are too frequent for single errors of a source.

Of exchanges with the same sessions one is named: it gives the right dates. Single odd bars, a few spurious days, gaps
of a ticker or of the whole file, and rows without prices cause no report.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipeline.arrays import Booleans, Indices, Sessions
from pipeline.market.bars import CalendarMismatch
from pipeline.market.calendars import sessions_between
from pipeline.market.exchanges import CURRENCIES, spellings
from pipeline.market.listings import states_exchange

MOST = 0.5
HARDLY_ANY = 0.05
MIN_DAYS = 3
"""Fewer traded days that a calendar lacks are errors of the source."""
EXPLAINED, BETTER = 0.9, 0.5
FREQUENT_SHARE, FREQUENT_DAYS = 0.01, 5
"""Of the sessions, and at least: more such days than that are reported even where no calendar explains them."""
LONGEST_CLOSURE_DAYS = 16
"""No exchange is closed for more days by plan (New Year and national holidays in Asia: 11); a longer gap is one of the
data, and no evidence."""


TRIED_FIRST = (
    *("24/7", "24/5", "XNYS", "XBOM", "XLON", "XTKS", "XHKG", "XSHG", "XPAR", "XETR", "XTSE", "XASX", "XSWX", "XTAI"),
    *("XKRX", "BVMF"),
)
"""The likeliest calendars: building all that are known takes some seconds, which only unusual bars cost."""


@dataclass(frozen=True, eq=False)
class _Days:
    """All days [day] from `first` to the last completed session: which are traded, and which are idle."""

    first: int  # days since 1970
    traded: Booleans
    idle: Booleans

    @property
    def last(self) -> int:
        """The last day."""
        return self.first + len(self.traded) - 1


@dataclass(frozen=True, eq=False)
class _Fit:
    """A calendar against the traded and idle days: which days it knows, and which [day] contradict it."""

    known: Booleans
    extra: Booleans  # traded without being a session
    unused: Booleans  # idle sessions

    @property
    def strange(self) -> Booleans:
        """The days that contradict the calendar."""
        return self.extra | self.unused


def calendar_mismatch(
    calendar: str, days: Mapping[str, Sessions], last_completed: np.datetime64
) -> CalendarMismatch | None:
    """Return how the bars of the calendar's tickers contradict it, None where they do not, or not by much.

    `days` has per ticker the days with prices, ascending, datetime64[D]. Days before the calendar's first session and
    after `last_completed` are not judged.
    """
    numbers = {ticker: found.astype("datetime64[D]").astype(np.int64) for ticker, found in days.items() if len(found)}
    judged = _days(calendar, numbers.values(), last_completed)
    if judged is None:
        return None
    present = _fit(calendar, judged)
    if present.extra.sum() < MIN_DAYS:
        return None
    having = [ticker for ticker, found in numbers.items() if _has_one(found, present.extra, judged.first)]
    if len(having) <= MOST * len(numbers):
        return None
    better = _best(calendar, judged, present)
    if better is None and not (len(numbers) > 1 and _frequent(present, judged)):
        return None
    return CalendarMismatch(
        calendar=calendar,
        tickers=len(having),
        of_tickers=len(numbers),
        days=_iso(present.extra, judged.first),
        unused_sessions=_iso(present.unused, judged.first),
        looks_like=better,
        spellings=spellings(having[0], better) if better else (),
        renamed_only=states_exchange(having[0]),
    )


def _days(calendar: str, numbers: Iterable[Indices], last_completed: np.datetime64) -> _Days | None:
    """Return the traded and idle days; None where no bar lies within the calendar's years."""
    known = _sessions(calendar)
    ends = [(found[0], found[-1]) for found in numbers]
    first = max(int(known[0]), min((begin for begin, _ in ends), default=0))
    count = min(int(last_completed.astype("datetime64[D]").astype(np.int64)), max((end for _, end in ends), default=0))
    count += 1 - first
    if count <= 0:
        return None
    present, change = np.zeros(count, np.int64), np.zeros(count + 1, np.int64)
    for found in numbers:
        inside = found[found.searchsorted(first) : found.searchsorted(first + count)] - first
        if len(inside):
            present[inside] += 1
            change[inside[0]] += 1
            change[inside[-1] + 1] -= 1
    trading = np.cumsum(change[:-1])  # [day] tickers with bars before and after
    idle = (trading > 0) & (present <= HARDLY_ANY * trading)
    return _Days(first, present > MOST * trading, _without_long_runs(idle))


def _without_long_runs(idle: Booleans) -> Booleans:
    """Return the idle days [day] without those of gaps that are longer than any closure of an exchange."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], idle, [False]])))
    kept = idle.copy()
    for begin, end in zip(edges[::2], edges[1::2], strict=True):
        if end - begin > LONGEST_CLOSURE_DAYS:
            kept[begin:end] = False
    return kept


def _fit(calendar: str, judged: _Days) -> _Fit:
    """Return how the calendar fits the days; those before its first and after its last session are not judged."""
    sessions = _sessions(calendar)
    day = np.arange(judged.first, judged.last + 1)
    known = (day >= sessions[0]) & (day <= sessions[-1])
    session = np.zeros(len(day), bool)
    inside = sessions[sessions.searchsorted(judged.first) : sessions.searchsorted(judged.last, "right")]
    session[inside - judged.first] = True
    return _Fit(known, known & judged.traded & ~session, judged.idle & session)


def _sessions(calendar: str) -> Indices:
    """Return all sessions of a calendar in days since 1970."""
    return sessions_between(calendar, np.datetime64("1800-01-01"), np.datetime64("2300-01-01")).astype(np.int64)


def _has_one(found: Indices, extra: Booleans, first: int) -> bool:
    inside = found[found.searchsorted(first) : found.searchsorted(first + len(extra))] - first
    return bool(extra[inside].any())


def _frequent(present: _Fit, judged: _Days) -> bool:
    sessions = int((judged.traded & ~present.extra).sum())
    return bool(present.extra.sum() >= max(FREQUENT_DAYS, FREQUENT_SHARE * sessions))


def _best(calendar: str, judged: _Days, present: _Fit) -> str | None:
    """Return the calendar that explains the days best: the first that none contradicts, or that with the fewest."""
    mismatches: dict[str, int] = {}
    for name in dict.fromkeys((*TRIED_FIRST, *sorted(CURRENCIES))):
        candidate = _fit(name, judged)
        if name == calendar or not _is_better(present, candidate):
            continue
        mismatches[name] = _mismatches(present, candidate)
        if not mismatches[name]:
            return name
    return min(mismatches, key=mismatches.__getitem__, default=None)


def _is_better(present: _Fit, other: _Fit) -> bool:
    """Return whether another calendar is clearly better on the days it knows; half of the strange ones must be."""
    strange = present.strange & other.known
    if strange.sum() < max(MIN_DAYS, MOST * present.strange.sum()):
        return False
    explained = strange & ~other.strange
    return bool(explained.sum() >= EXPLAINED * strange.sum() and other.strange.sum() <= BETTER * strange.sum())


def _mismatches(present: _Fit, other: _Fit) -> int:
    """Return the days that contradict the other calendar, with those strange ones that it does not know."""
    return int(other.strange.sum() + (present.strange & ~other.known).sum())


def _iso(chosen: NDArray[np.bool_], first: int) -> tuple[str, ...]:
    return tuple(map(str, (np.flatnonzero(chosen) + first).astype("datetime64[D]")))
