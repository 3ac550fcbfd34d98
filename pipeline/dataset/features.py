"""The features: what a forecaster reads of a session, each known at its close.

A feature is computed from the ticker's own sessions (ticker_features), or from its context: the mean over the market
or over the ticker's sector, the returns of other calendars up to its close, an index, and series from files.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from pipeline.arrays import Booleans, Floats, Floats32
from pipeline.dataset.context import (
    NO_CONTEXT,
    Context,
    cross_market_returns,
    market_mean,
    market_member_mask,
    sector_mean,
)
from pipeline.dataset.covariates.past import past_values
from pipeline.dataset.panel import Panel
from pipeline.dataset.targets import origin_volatility
from pipeline.dataset.ticker_features import (
    TickerSeries,
    close_location,
    log_range,
    log_return,
    log_volatility,
    mean_absolute_return,
    open_to_close,
    overnight_gap,
    ticker_series,
    volume_surprise,
)
from pipeline.errors import UsageError


@dataclass(frozen=True)
class Feature:
    """A named function of a ticker's own sessions; its first `warm_up` values are not yet defined.

    At most one of `market_mean`, `sector_mean`, `cross_market` and `from_context` is set: its value replaces the
    ticker's own, where there is one.
    """

    name: str
    warm_up: int
    compute: Callable[[TickerSeries], Floats]
    market_mean: bool = False  # averaged over the market's tickers, session by session
    per_volatility: bool = False  # finally divided by the ticker's own origin volatility
    cross_market: bool = False  # replaced by the return of the other calendars
    sector_mean: bool = False  # averaged over the market's tickers of the same sector, session by session
    from_context: Callable[[Panel, Context], Floats] | None = None  # [session], replaces the ticker's own value


def _index_return(panel: Panel, context: Context) -> Floats:
    """Return the index's log return since the panel's previous close [session], clipped session by session."""
    if context.index is None:
        raise UsageError("the feature index_return needs an index, found none; name one (index = TICKER)")
    return cross_market_returns(panel, (context.index.returns,))


def _index_log_range(panel: Panel, context: Context) -> Floats:
    """Return the log range of the index's last session that had ended by the panel's close [session]."""
    if context.index is None:
        raise UsageError("the feature index_log_range needs an index, found none; name one (index = TICKER)")
    return past_values(context.index.log_range, panel.calendar, panel.sessions)


# Returns are in units of the volatility known at their session: a network trained on calm years then reads a crash
# on the same scale.
FEATURES: tuple[Feature, ...] = (
    Feature("log_return", 20, log_return, per_volatility=True),
    Feature("overnight_gap", 20, overnight_gap, per_volatility=True),
    Feature("open_to_close", 20, open_to_close, per_volatility=True),
    Feature("market_return", 20, log_return, market_mean=True, per_volatility=True),
    Feature("cross_market_return", 20, log_return, cross_market=True, per_volatility=True),
    Feature("sector_return", 20, log_return, sector_mean=True, per_volatility=True),
    Feature("index_return", 20, log_return, from_context=_index_return, per_volatility=True),
    Feature("log_range", 0, log_range),
    Feature("market_log_range", 0, log_range, market_mean=True),
    Feature("sector_log_range", 0, log_range, sector_mean=True),
    Feature("index_log_range", 0, log_range, from_context=_index_log_range),
    Feature("close_location", 0, close_location),
    Feature("volume_surprise", 59, volume_surprise),
    Feature("log_volatility", 20, log_volatility),
    Feature("volatility_5", 5, mean_absolute_return(5)),
    Feature("volatility_20", 20, mean_absolute_return(20)),
    Feature("volatility_60", 60, mean_absolute_return(60)),
)


def file_feature(name: str, warm_up: int) -> Feature:
    """Return the feature that reads a past covariate from a file, the same at every ticker that has a bar."""
    return Feature(name, warm_up, lambda series: np.zeros(len(series.close)), from_context=partial(_past_series, name))


def _past_series(name: str, panel: Panel, context: Context) -> Floats:
    for covariate in context.past:
        if covariate.name == name:
            return past_values(covariate, panel.calendar, panel.sessions)
    raise UsageError(f"the feature {name} needs a series of that name, found none; give it under covariates")


def select_features(names: tuple[str, ...], file_features: tuple[Feature, ...] = ()) -> tuple[Feature, ...]:
    """Return the named features, built in or from files, in that order; raises UsageError on an unknown name."""
    known = {feature.name: feature for feature in (*FEATURES, *file_features)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"unknown feature {', '.join(unknown)}; expected some of {', '.join(known)}")
    return tuple(known[name] for name in names)


def build_features(
    panel: Panel,
    features: tuple[Feature, ...],
    market_members: tuple[str, ...],
    minimum_sessions: int = 1,
    context: Context = NO_CONTEXT,
) -> Floats32:
    """Return features [ticker, session, feature], float32, NaN where absent or warming up.

    `market_members` names the tickers whose mean makes the market features; others in the panel are forecast but do
    not enter the mean, so a ticker added later changes nothing for the rest. A member counts once it has
    `minimum_sessions` own sessions and while it belongs to the universe. Raises UsageError where a feature reads other
    calendars and there are none.
    """
    volatility = origin_volatility(panel)
    values = _ticker_features(panel, volatility, features)
    members = market_member_mask(panel, market_members, minimum_sessions, context.membership)
    for column, feature in enumerate(features):
        values[..., column] = _in_context(values[..., column], feature, panel, members, context)
        if feature.per_volatility:
            values[..., column] /= volatility
    return values.astype(np.float32)


def _in_context(values: Floats, feature: Feature, panel: Panel, members: Booleans, context: Context) -> Floats:
    """Return a feature [ticker, session] from the `values` of each ticker and its context, NaN where values are NaN."""
    if feature.market_mean:
        return market_mean(values, members)
    if feature.sector_mean:
        return sector_mean(values, members, _sectors(panel, feature, context))
    if feature.cross_market:
        return np.where(np.isfinite(values), _cross_market(panel, feature, context), np.nan)
    if feature.from_context:
        return np.where(np.isfinite(values), feature.from_context(panel, context), np.nan)
    return values


def _sectors(panel: Panel, feature: Feature, context: Context) -> tuple[str | None, ...]:
    if context.sectors is None:
        raise UsageError(f"the feature {feature.name} needs sectors, found none; give a file of them (sectors = FILE)")
    return context.sectors.of(panel.tickers)


def _cross_market(panel: Panel, feature: Feature, context: Context) -> Floats:
    if not context.cross_market:
        raise UsageError(
            f"the feature {feature.name} needs tickers of other calendars, found only those of {panel.calendar}; "
            f"add some, or leave {feature.name} out of the features"
        )
    return cross_market_returns(panel, context.cross_market)


def _ticker_features(panel: Panel, volatility: Floats, features: tuple[Feature, ...]) -> Floats:
    """Return the values computed from each ticker's own sessions [ticker, session, feature], NaN where warming up."""
    result = np.full((*panel.present.shape, len(features)), np.nan)
    for ticker, present in enumerate(panel.present):
        series = ticker_series(panel, volatility, ticker)
        for column, feature in enumerate(features):
            values = np.array(feature.compute(series), dtype=np.float64)
            values[: feature.warm_up] = np.nan
            result[ticker, present, column] = values
    return result
