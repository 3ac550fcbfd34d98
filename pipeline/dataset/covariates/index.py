"""The market index: one ticker's returns and ranges, with the instants at which they were known."""

from collections.abc import Sequence

import numpy as np

from pipeline.dataset.abroad import IndexSeries, MarketReturns
from pipeline.dataset.covariates.past import PastCovariate
from pipeline.dataset.features import log_range, own_series
from pipeline.dataset.market import clipped
from pipeline.dataset.panel import Panel, build_panel
from pipeline.dataset.volatility import origin_volatility
from pipeline.errors import UsageError
from pipeline.market.bars import Bars
from pipeline.market.calendars import closing_instants

INDEX_MOST_AGE_DAYS = 14.0


def index_among(every: Sequence[Bars], ticker: str, minimum_sessions: int) -> IndexSeries:
    """Return the series of the index from the bars of its own calendar; raises UsageError where it has none."""
    own = [bars for bars in every if ticker in bars.tickers]
    if not own:
        raise UsageError(f"found no bars of the index {ticker}, expected it among the run's tickers; add it to them")
    return index_series(build_panel(own[0]), ticker, minimum_sessions)


def index_series(panel: Panel, ticker: str, minimum_sessions: int) -> IndexSeries:
    """Return the log return (clipped) and log range of a ticker of the panel, once it has `minimum_sessions` sessions.

    Younger than that the door would still refuse it at an origin, and so it must not speak there.
    """
    row = panel.tickers.index(ticker)
    closes = closing_instants(panel.calendar, panel.sessions)
    old_enough = np.cumsum(panel.present[row]) >= minimum_sessions
    own = old_enough[panel.present[row]] & ~np.isnat(closes[panel.present[row]])  # [own session]
    series = own_series(panel, origin_volatility(panel), row)
    closed_at = closes[panel.present[row]][own]
    return IndexSeries(
        returns=MarketReturns(closed_at, clipped(series.log_return)[own]),
        log_range=PastCovariate(
            name="index_log_range",
            known_from=closed_at,
            values=log_range(series)[own],
            changes=False,
            most_age_days=INDEX_MOST_AGE_DAYS,
            told_by=f"the index {ticker}",
        ),
    )
