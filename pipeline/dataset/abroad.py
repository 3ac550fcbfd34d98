"""Returns of other calendars, joined by closing instant: what a ticker's own exchange had not yet seen at its close."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Booleans, Floats, Sessions
from pipeline.dataset.covariates.known import KnownCovariate
from pipeline.dataset.covariates.past import PastCovariate
from pipeline.dataset.covariates.sectors import Sectors
from pipeline.dataset.market import clipped, session_mean
from pipeline.dataset.panel import Panel
from pipeline.market.calendars import closing_instants


@dataclass(frozen=True)
class MarketReturns:
    """A calendar's mean log return per session, NaN where no member has one, and the UTC instants it was known at."""

    closed_at: Sessions  # [session] datetime64[s], ascending
    log_return: Floats  # [session]


@dataclass(frozen=True)
class IndexSeries:
    """The log returns and log ranges of one ticker, of this calendar or of another, and the instants of its closes."""

    returns: MarketReturns
    log_range: PastCovariate


@dataclass(frozen=True)
class Surroundings:
    """What a panel alone does not tell.

    When its tickers belonged to the universe, the other calendars' returns, sectors, an index, and series of two types
    that never mix: what is past-only becomes features, what is known in advance is read at the target sessions.
    """

    belongs: Booleans | None = None  # [ticker, session] of the panel; None: always
    abroad: tuple[MarketReturns, ...] = ()
    sectors: Sectors | None = None
    index: IndexSeries | None = None
    past: tuple[PastCovariate, ...] = ()
    known: tuple[KnownCovariate, ...] = ()


ALONE = Surroundings()


def market_returns(panel: Panel, members: Booleans) -> MarketReturns:
    """Return the mean log return of the panel's members [ticker, session] with the instants their sessions end at."""
    return MarketReturns(
        closed_at=closing_instants(panel.calendar, panel.sessions),
        log_return=session_mean(clipped(panel.log_return), members),
    )


def returns_abroad(panel: Panel, others: Sequence[MarketReturns]) -> Floats:
    """Return the mean over the other calendars of what closed since the panel's former session [session].

    A calendar's part is the sum of its mean log returns whose sessions ended after the close of the panel's former
    session and not later than that of its own; 0 where none did. NaN where no other calendar had a return by the
    former close, at the first session, and at days the panel's calendar does not have.
    """
    own = closing_instants(panel.calendar, panel.sessions)
    dated = ~np.isnat(own)
    sums = np.array([sums_until(own[dated], other) for other in others])  # [calendar, dated session]
    result = np.full(len(own), np.nan)
    result[dated] = session_mean(sums, np.ones(sums.shape, dtype=bool)) if len(others) else np.nan
    return result


def sums_until(own: Sessions, other: MarketReturns) -> Floats:
    """Return per own close the sum of the other's returns since the former own close, NaN before one is known."""
    known = np.isfinite(other.log_return) & ~np.isnat(other.closed_at)
    place = np.searchsorted(own, other.closed_at[known], side="left")  # the first own close that is not earlier
    sums = np.bincount(place, other.log_return[known], minlength=len(own) + 1)[: len(own)].astype(np.float64)
    first = int(place[0]) if len(place) else len(own)
    sums[: first + 1] = np.nan
    return sums
