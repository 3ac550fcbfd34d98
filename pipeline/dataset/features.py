"""Features of a ticker, each a function of its own sessions up to the one it stands at, their market means, and what
other calendars did up to its close.

Every feature is known at the close of its session and is free of the price's level: it is built from total returns,
from ratios within one session, and from money turnover relative to its own past (which a split does not move). Beside
them stand the means of sectors, one ticker as the market's index, and series that a user gives by file.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from pipeline.arrays import Booleans, Floats, Floats32
from pipeline.dataset.abroad import ALONE, Surroundings, returns_abroad
from pipeline.dataset.covariates.past import past_values
from pipeline.dataset.covariates.sectors import sector_mean
from pipeline.dataset.market import clipped, market_mean, members_of
from pipeline.dataset.panel import Panel
from pipeline.dataset.volatility import origin_volatility, trailing_mean
from pipeline.errors import UsageError

RANGE_FLOOR = 1e-4  # a session without movement still has a finite log range
SMALLEST_MEAN_RETURN = 1e-4


@dataclass(frozen=True)
class Series:
    """One ticker's own sessions, without gaps: 1-D float64 arrays of equal length."""

    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    log_return: Floats
    volatility: Floats  # known at each session, daily


@dataclass(frozen=True)
class Feature:
    """A named function of a ticker's own sessions; its first `warm_up` values are not yet defined."""

    name: str
    warm_up: int
    compute: Callable[[Series], Floats]
    market_mean: bool = False  # averaged over the market's tickers, session by session
    per_volatility: bool = False  # then divided by the ticker's own origin volatility
    abroad: bool = False  # where the ticker has a value, that of the other calendars stands in its place
    sector_mean: bool = False  # averaged over the market's tickers of the own sector, session by session
    joined: Callable[[Panel, Surroundings], Floats] | None = None  # [session], likewise in place of the own value


def log_return(series: Series) -> Floats:
    """Return the session's total log return, clipped at +-RETURN_LIMIT."""
    return clipped(series.log_return)


def open_to_close(series: Series) -> Floats:
    """Return the log ratio of close to open, clipped."""
    return clipped(np.log(series.close / series.open))


def overnight_gap(series: Series) -> Floats:
    """Return the part of the total return earned before the open: total return less open-to-close, clipped."""
    return clipped(series.log_return - np.log(series.close / series.open))


def log_range(series: Series) -> Floats:
    """Return the log of the session's log range high / low, floored."""
    return np.log(np.maximum(np.log(series.high / series.low), RANGE_FLOOR))


def close_location(series: Series) -> Floats:
    """Return where the close lies between low (0) and high (1), 0.5 in a session without movement."""
    spread = np.log(series.high / series.low)
    location = np.log(series.close / series.low) / np.maximum(spread, RANGE_FLOOR)
    return np.where(spread > RANGE_FLOOR, location, 0.5)


def volume_surprise(series: Series) -> Floats:
    """Return log money turnover (close x volume, as traded) less its 60-session mean; a session without volume is 0."""
    traded = series.volume > 0
    turnover = np.log(np.where(traded, series.close * series.volume, 1.0))
    known = trailing_mean(np.where(traded, turnover, 0.0), 60)
    share = trailing_mean(traded.astype(np.float64), 60)
    mean = known / np.maximum(share, 1.0 / 60)
    return np.where(np.isnan(mean), np.nan, np.where(traded & (share > 0), turnover - mean, 0.0))


def log_volatility(series: Series) -> Floats:
    """Return the log of the volatility known at the session."""
    return np.log(series.volatility)


def mean_absolute_return(window: int) -> Callable[[Series], Floats]:
    """Return the feature: log of the mean absolute return over the last `window` sessions."""

    def compute(series: Series) -> Floats:
        # The first session has no return: it counts as none, and the warm-up covers it.
        size = np.abs(clipped(np.nan_to_num(series.log_return)))
        return np.log(trailing_mean(size, window) + SMALLEST_MEAN_RETURN)

    return compute


def _index_return(panel: Panel, around: Surroundings) -> Floats:
    """Return the index's log return since the panel's former close [session], clipped session by session."""
    if around.index is None:
        raise UsageError("the feature index_return needs an index, found none; name one (index = TICKER)")
    return returns_abroad(panel, (around.index.returns,))


def _index_log_range(panel: Panel, around: Surroundings) -> Floats:
    """Return the log range of the index's last session that was over at the panel's close [session]."""
    if around.index is None:
        raise UsageError("the feature index_log_range needs an index, found none; name one (index = TICKER)")
    return past_values(around.index.log_range, panel)


# Returns are in units of the volatility known at their session: a network trained on calm years then reads a crash
# as it read them.
FEATURES: tuple[Feature, ...] = (
    Feature("log_return", 20, log_return, per_volatility=True),
    Feature("overnight_gap", 20, overnight_gap, per_volatility=True),
    Feature("open_to_close", 20, open_to_close, per_volatility=True),
    Feature("market_return", 20, log_return, market_mean=True, per_volatility=True),
    Feature("abroad_return", 20, log_return, abroad=True, per_volatility=True),
    Feature("sector_return", 20, log_return, sector_mean=True, per_volatility=True),
    Feature("index_return", 20, log_return, joined=_index_return, per_volatility=True),
    Feature("log_range", 0, log_range),
    Feature("market_log_range", 0, log_range, market_mean=True),
    Feature("sector_log_range", 0, log_range, sector_mean=True),
    Feature("index_log_range", 0, log_range, joined=_index_log_range),
    Feature("close_location", 0, close_location),
    Feature("volume_surprise", 59, volume_surprise),
    Feature("log_volatility", 20, log_volatility),
    Feature("volatility_5", 5, mean_absolute_return(5)),
    Feature("volatility_20", 20, mean_absolute_return(20)),
    Feature("volatility_60", 60, mean_absolute_return(60)),
)


def exogenous_feature(name: str, warm_up: int) -> Feature:
    """Return the feature that is a past-only series given by file, the same at every ticker that has a bar."""
    return Feature(name, warm_up, lambda series: np.zeros(len(series.close)), joined=partial(_exogenous, name))


def _exogenous(name: str, panel: Panel, around: Surroundings) -> Floats:
    own = [covariate for covariate in around.past if covariate.name == name]
    if not own:
        raise UsageError(f"the feature {name} needs a series of that name, found none; give it under covariates")
    return past_values(own[0], panel)


def select_features(names: tuple[str, ...], given: tuple[Feature, ...] = ()) -> tuple[Feature, ...]:
    """Return the named features, some of them given ones, in that order; raises UsageError on an unknown name."""
    known = {feature.name: feature for feature in (*FEATURES, *given)}
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"unknown feature {', '.join(unknown)}; expected some of {', '.join(known)}")
    return tuple(known[name] for name in names)


def own_series(panel: Panel, volatility: Floats, ticker: int) -> Series:
    """Return one ticker's own sessions, with the volatility [ticker, session] known at them."""
    where = panel.present[ticker]
    fields = (panel.open, panel.high, panel.low, panel.close, panel.volume, panel.log_return, volatility)
    return Series(*(field[ticker, where] for field in fields))


def build_features(
    panel: Panel,
    features: tuple[Feature, ...],
    market: tuple[str, ...],
    minimum_sessions: int = 1,
    around: Surroundings = ALONE,
) -> Floats32:
    """Return features [ticker, session, feature], float32, NaN where absent or warming up.

    `market` names the tickers whose mean makes the market features; others in the panel are forecast but do not
    move them, so a ticker added later changes nothing for the rest. A member counts once it has `minimum_sessions`
    own sessions and while it belongs to the universe. Raises UsageError where a feature of other calendars is asked
    for and there is none.
    """
    volatility = origin_volatility(panel)
    values = _own_features(panel, volatility, features)
    members = members_of(panel, market, minimum_sessions, around.belongs)
    for column, feature in enumerate(features):
        values[..., column] = _from_others(values[..., column], feature, panel, members, around)
        if feature.per_volatility:
            values[..., column] /= volatility
    return values.astype(np.float32)


def _from_others(own: Floats, feature: Feature, panel: Panel, members: Booleans, around: Surroundings) -> Floats:
    """Return a feature's values with what it takes from others [ticker, session], where the ticker has its own."""
    if feature.market_mean:
        return market_mean(own, members)
    if feature.sector_mean:
        return sector_mean(own, members, _sectors(panel, feature, around))
    if feature.abroad:
        return np.where(np.isfinite(own), _abroad(panel, feature, around), np.nan)
    if feature.joined:
        return np.where(np.isfinite(own), feature.joined(panel, around), np.nan)
    return own


def _sectors(panel: Panel, feature: Feature, around: Surroundings) -> tuple[str | None, ...]:
    if around.sectors is None:
        raise UsageError(f"the feature {feature.name} needs sectors, found none; give a file of them (sectors = FILE)")
    return around.sectors.of(panel.tickers)


def _abroad(panel: Panel, feature: Feature, around: Surroundings) -> Floats:
    if not around.abroad:
        raise UsageError(
            f"the feature {feature.name} needs tickers of other calendars, found only those of {panel.calendar}; "
            f"add some, or leave {feature.name} out of the features"
        )
    return returns_abroad(panel, around.abroad)


def _own_features(panel: Panel, volatility: Floats, features: tuple[Feature, ...]) -> Floats:
    values = np.full((*panel.present.shape, len(features)), np.nan)
    for ticker, where in enumerate(panel.present):
        series = own_series(panel, volatility, ticker)
        for column, feature in enumerate(features):
            values[ticker, where, column] = _after_warm_up(feature, series)
    return values


def _after_warm_up(feature: Feature, series: Series) -> Floats:
    values = np.array(feature.compute(series), dtype=np.float64)
    values[: feature.warm_up] = np.nan
    return values
