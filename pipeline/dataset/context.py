"""What features read beyond a ticker's own bars: its market, its sector, other calendars, an index, further series."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Booleans, Floats, Sessions
from pipeline.dataset.covariates.known_future import KnownFutureCovariate
from pipeline.dataset.covariates.past import PastCovariate
from pipeline.dataset.covariates.sectors import Sectors
from pipeline.dataset.panel import Panel, build_panel
from pipeline.dataset.targets import origin_volatility
from pipeline.dataset.ticker_features import clip_returns, log_range, ticker_series
from pipeline.errors import UsageError
from pipeline.market.bars import Bars
from pipeline.market.calendars import closing_instants

INDEX_MAX_AGE_DAYS = 14.0


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
class Context:
    """What the features of a panel may read that the panel itself does not hold.

    The universe membership of its tickers, the returns of other calendars, sectors, an index, and series of two types
    that never mix: past covariates become features, known-future covariates are read at the target sessions.
    """

    membership: Booleans | None = None  # [ticker, session] of the panel; None: always a member
    cross_market: tuple[MarketReturns, ...] = ()  # of each other calendar
    sectors: Sectors | None = None
    index: IndexSeries | None = None
    past: tuple[PastCovariate, ...] = ()
    known_future: tuple[KnownFutureCovariate, ...] = ()


NO_CONTEXT = Context()


# --- Means over the members of a market or sector ---


def market_member_mask(
    panel: Panel, market_members: tuple[str, ...], minimum_sessions: int, membership: Booleans | None
) -> Booleans:
    """Return where a ticker counts as a member of the market [ticker, session].

    That is a ticker named in `market_members`, once it has `minimum_sessions` own sessions (validation would exclude a
    younger one at an origin, so it must not count there), while it belongs to the universe (None: always).
    """
    old_enough: Booleans = np.cumsum(panel.present, axis=1) >= minimum_sessions
    members: Booleans = np.isin(panel.tickers, market_members)[:, None] & old_enough
    return members if membership is None else members & membership


def session_mean(values: Floats, members: Booleans) -> Floats:
    """Return the mean over the members that have a value, NaN where none has [session]."""
    known = np.isfinite(values) & members
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def market_mean(values: Floats, members: Booleans) -> Floats:
    """Return the session's mean over the members at every ticker that has a value itself [ticker, session]."""
    return np.where(np.isfinite(values), session_mean(values, members), np.nan)


def sector_mean(values: Floats, members: Booleans, sectors: Sequence[str | None]) -> Floats:
    """Return the session's mean over the members of a ticker's sector, including itself [ticker, session].

    `values` and `members` are [ticker, session], `sectors` one per ticker. The mean of the whole market is used where
    a ticker has no sector, or no member of the sector has a value; NaN where the ticker has no value itself.
    """
    mean_of_market = session_mean(values, members)
    means = np.tile(mean_of_market, (len(values), 1))
    for sector in dict.fromkeys(name for name in sectors if name is not None):
        rows = np.array([name == sector for name in sectors])
        mean_of_sector = session_mean(values[rows], members[rows])
        means[rows] = np.where(np.isfinite(mean_of_sector), mean_of_sector, mean_of_market)
    return np.where(np.isfinite(values), means, np.nan)


# --- Other calendars ---


def market_returns(panel: Panel, members: Booleans) -> MarketReturns:
    """Return the mean log return of the panel's members [ticker, session] with the instants at which sessions end."""
    return MarketReturns(
        closed_at=closing_instants(panel.calendar, panel.sessions),
        log_return=session_mean(clip_returns(panel.log_return), members),
    )


def cross_market_returns(panel: Panel, others: Sequence[MarketReturns]) -> Floats:
    """Return the mean log return of the other calendars since the panel's previous close [session].

    Each calendar contributes the sum of its mean log returns of sessions that ended after the panel's previous close
    and not later than the current one; 0 where there were none. NaN where no other calendar had a return by the
    previous close, at the first session, and at days that the panel's calendar does not have.
    """
    closes = closing_instants(panel.calendar, panel.sessions)
    dated = ~np.isnat(closes)
    sums = np.array([returns_between_closes(closes[dated], other) for other in others])  # [calendar, dated session]
    result = np.full(len(closes), np.nan)
    result[dated] = session_mean(sums, np.ones(sums.shape, dtype=bool)) if len(others) else np.nan
    return result


def returns_between_closes(closes: Sessions, other: MarketReturns) -> Floats:
    """Return the sum of the other calendar's returns since the previous close [close], NaN before one is known."""
    known = np.isfinite(other.log_return) & ~np.isnat(other.closed_at)
    place = np.searchsorted(closes, other.closed_at[known], side="left")  # the first close that is not earlier
    sums = np.bincount(place, other.log_return[known], minlength=len(closes) + 1)[: len(closes)].astype(np.float64)
    first = int(place[0]) if len(place) else len(closes)
    sums[: first + 1] = np.nan
    return sums


# --- The index ---


def index_among(all_bars: Sequence[Bars], ticker: str, minimum_sessions: int) -> IndexSeries:
    """Return the series of the index from the bars of its calendar; raises UsageError where there are none."""
    with_index = [bars for bars in all_bars if ticker in bars.tickers]
    if not with_index:
        raise UsageError(f"found no bars of the index {ticker}, expected it among the run's tickers; add it to them")
    return index_series(build_panel(with_index[0]), ticker, minimum_sessions)


def index_series(panel: Panel, ticker: str, minimum_sessions: int) -> IndexSeries:
    """Return the log return (clipped) and log range of a ticker of the panel, once it has `minimum_sessions` sessions.

    Validation would exclude a younger ticker at an origin, so nothing of it may be read there.
    """
    row = panel.tickers.index(ticker)
    present = panel.present[row]
    closes = closing_instants(panel.calendar, panel.sessions)[present]  # [own session]
    old_enough = np.cumsum(present)[present] >= minimum_sessions
    kept = old_enough & ~np.isnat(closes)  # [own session]
    series = ticker_series(panel, origin_volatility(panel), row)
    return IndexSeries(
        returns=MarketReturns(closes[kept], clip_returns(series.log_return)[kept]),
        log_range=PastCovariate(
            name="index_log_range",
            known_from=closes[kept],
            values=log_range(series)[kept],
            changes=False,
            max_age_days=INDEX_MAX_AGE_DAYS,
            source_name=f"the index {ticker}",
        ),
    )
