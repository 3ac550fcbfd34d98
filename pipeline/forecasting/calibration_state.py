"""The state of the adaptive correction: advanced once per session, the same in a backtest and from day to day.

**Bands.** Quantile tracking, Angelopoulos, Candes and Tibshirani (2023), section 2, after Gibbs and Candes (2021), eq.
2, on log factors: a level that is missed more often than its tail says grows, else it shrinks. The log factor of a
ticker's level is

    scale + level + slope x,   x = its relative volatility (dataset.targets), within +-LARGEST_STATE,

of which the scale is shared by the levels of a horizon, each level has a slower part of its own, and the slope is what
bands lack in turbulent sessions and have too much of in calm ones: misses times x move it. All tickers share all three,
and few tickers move them little. The step of the scale is scale_rate times the fourth power of the tracking signal of
Trigg and Leach (1967), |smoothed miss| / smoothed |miss|: near zero where misses on both sides alternate, as they do
by chance, and near one where a band keeps being too narrow or too wide; it is never below SLOWEST of that.

**Median.** It is shrunk towards zero by the factor that would have had the smallest squared error so far, a regression
through the origin of outcomes on medians in units of the volatility, with a ridge towards one, and stays between zero
and one. Where there was little to learn from, such as some years of a few tickers, it is near one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pipeline.arrays import Array, Booleans, Floats, Floats32
from pipeline.errors import FitError
from pipeline.forecasters.forecaster import LEVELS, MEDIAN
from pipeline.forecasting.combination_state import NEVER, names_as_array, names_from_array
from pipeline.forecasting.conformal import (
    FEW_TICKERS,
    MOST_OF_LEVEL,
    MOST_OF_SCALE,
    OFF_MEDIAN,
    SIDE,
    missed,
    stretched,
)
from pipeline.forecasting.span import Origins
from pipeline.forecasting.specification import CalibrationSpec

LARGEST_STATE = 0.5
"""A log relative volatility beyond this counts as this: what was learned in common sessions says little of the rest."""
MOST_OF_SLOPE = 1.0
SLOWEST = 0.04
"""The least share of the scale's step, so that a small miss that stays is repaired in the end."""
TRACKED_SESSIONS = 50
"""How far the tracking signal looks back at horizon 1; h times that at horizon h, whose outcomes overlap."""
FIRST_DEVIATION = 0.05
"""What the smoothed size of the misses begins with: it keeps the signal small until there are some."""
PRIOR_WEIGHT = 1.0
"""A factor of 1, give or take 1, is expected before any outcome: with n tickers, n / (n + FEW_TICKERS) of a session's
mean squared median, in units of the volatility, is added to this. On five stocks that is 0.1 to 0.4 in 1,000 sessions.
"""
LARGEST_MOVE = 5.0
"""A median or an outcome of more volatilities counts as this: one halted stock does not decide for all."""
LEARNED = ("scale", "level", "slope", "excess", "deviation", "agreement", "size")
AWAITED = ("pending", "median", "volatility", "relative")


@dataclass(frozen=True, eq=False)
class CalibrationState:
    """What the correction has learned up to the close of a session, and the forecasts whose outcomes it waits for.

    A log factor is `scale` + `level` + `slope` x; `excess` and `deviation` are the smoothed misses and their size, of
    the tracking signal; `agreement` and `size` are the sums of the regression that shrinks the median. The other arrays
    are of the last H sessions, the newest first, NaN where nothing was issued: `pending` holds the quantiles as they
    were issued, `median` the medians before they were shrunk, then the volatility and the relative one. `session` is
    the last of them.
    """

    tickers: tuple[str, ...]
    scale: Floats  # [horizon, 1]
    level: Floats  # [horizon, level]
    slope: Floats  # [horizon, 1]
    excess: Floats  # [horizon, 1]
    deviation: Floats  # [horizon, 1]
    agreement: Floats  # [horizon]
    size: Floats  # [horizon]
    pending: Floats32  # [ticker, session back, horizon, level]
    median: Floats32  # [ticker, session back, horizon]
    volatility: Floats32  # [ticker, session back]
    relative: Floats32  # [ticker, session back]
    session: np.datetime64 = NEVER

    @property
    def horizons(self) -> int:
        """H, the number of horizons."""
        return len(self.scale)

    @property
    def shrinkage(self) -> Floats:
        """The factor [horizon] that shrinks the median towards zero."""
        factor: Floats = np.clip((self.agreement + PRIOR_WEIGHT) / (self.size + PRIOR_WEIGHT), 0.0, 1.0)
        return factor

    @property
    def awaited(self) -> tuple[str, ...]:
        """The tickers with a forecast whose outcome is awaited."""
        return tuple(self.tickers[row] for row in np.flatnonzero(np.isfinite(self.pending).any(axis=(1, 2, 3))))

    def of(self, tickers: Sequence[str]) -> "CalibrationState":
        """Return the same state with the pending forecasts of these tickers, none where a ticker is new."""
        if tuple(tickers) == self.tickers:
            return self
        new = new_calibration(tickers, self.horizons)
        rows = {ticker: row for row, ticker in enumerate(self.tickers)}
        mine = [rows[ticker] for ticker in tickers if ticker in rows]
        others = [row for row, ticker in enumerate(tickers) if ticker in rows]
        awaited = {name: getattr(new, name) for name in AWAITED}
        for name, values in awaited.items():
            values[others] = getattr(self, name)[mine]
        return replace(self, tickers=tuple(tickers), **awaited)


def new_calibration(tickers: Sequence[str], horizons: int) -> CalibrationState:
    """Return the state before any session: no correction of bands, and nothing issued."""
    count = len(tickers)
    return CalibrationState(
        tickers=tuple(tickers),
        scale=np.zeros((horizons, 1)),
        level=np.zeros((horizons, len(LEVELS))),
        slope=np.zeros((horizons, 1)),
        excess=np.zeros((horizons, 1)),
        deviation=np.full((horizons, 1), FIRST_DEVIATION),
        agreement=np.zeros(horizons),
        size=np.zeros(horizons),
        pending=np.full((count, horizons, horizons, len(LEVELS)), np.nan, dtype=np.float32),
        median=np.full((count, horizons, horizons), np.nan, dtype=np.float32),
        volatility=np.full((count, horizons), np.nan, dtype=np.float32),
        relative=np.full((count, horizons), np.nan, dtype=np.float32),
    )


def advanced(state: CalibrationState, spec: CalibrationSpec, outcome: Floats32) -> CalibrationState:
    """Return the state after a session's close; `outcome` [ticker, horizon] became known at it, NaN where unknown.

    What is judged is what was issued. A horizon without a known outcome of an issued forecast stays as it is.
    """
    ahead = np.arange(state.horizons)
    misses, known = missed(state.pending[:, ahead, ahead], outcome)  # of this session's forecast at each horizon
    tickers = (known.sum(axis=0) + FEW_TICKERS)[:, None]  # [horizon, 1]
    beyond = misses[..., OFF_MEDIAN].mean(axis=2)  # [ticker, horizon]
    wide = beyond.sum(axis=0)[:, None] / tickers
    leaning = (beyond * np.where(known, _within(state.relative), 0.0)).sum(axis=0)[:, None] / tickers
    of_level = misses.sum(axis=0) * np.abs(SIDE) / tickers
    excess, deviation = _tracked(state, wide, np.asarray(known.any(axis=0))[:, None])
    rate = spec.scale_rate * np.maximum((np.abs(excess) / deviation) ** 4, SLOWEST)
    step = 1 / (ahead + 1)[:, None]  # as many outcomes overlap
    scale, level = state.scale + step * rate * wide, state.level + step * spec.level_rate * of_level
    slope = state.slope + step * spec.slope_rate * leaning
    agreement, size = _regressed(state, outcome, known)
    return replace(
        state,
        scale=np.clip(scale, -MOST_OF_SCALE, MOST_OF_SCALE),
        level=np.clip(level, -MOST_OF_LEVEL, MOST_OF_LEVEL),
        slope=np.clip(slope, -MOST_OF_SLOPE, MOST_OF_SLOPE),
        excess=excess,
        deviation=deviation,
        agreement=agreement,
        size=size,
    )


def _tracked(state: CalibrationState, wide: Floats, known: Booleans) -> tuple[Floats, Floats]:
    """Return the smoothed misses [horizon, 1] and their smoothed size after new ones, where there are any."""
    share = np.where(known, 1 / (TRACKED_SESSIONS * np.arange(1, state.horizons + 1)[:, None]), 0.0)
    excess: Floats = state.excess + share * (wide - state.excess)
    deviation: Floats = state.deviation + share * (np.abs(wide) - state.deviation)
    return excess, deviation


def _regressed(state: CalibrationState, outcome: Floats32, known: Booleans) -> tuple[Floats, Floats]:
    """Return the sums [horizon] of outcomes times medians, and of squared medians, in units of the volatility."""
    ahead = np.arange(state.horizons)
    median = state.median[:, ahead, ahead]  # of this session's forecast at each horizon
    known = known & np.isfinite(median) & np.isfinite(state.volatility)
    unit = np.where(known, state.volatility, 1.0).astype(np.float64) * np.sqrt(ahead + 1)  # [ticker, horizon]
    forecast, realised = (
        np.clip(np.where(known, values, 0.0) / unit, -LARGEST_MOVE, LARGEST_MOVE) for values in (median, outcome)
    )
    tickers = known.sum(axis=0) + FEW_TICKERS
    agreement: Floats = state.agreement + (forecast * realised).sum(axis=0) / tickers
    size: Floats = state.size + (forecast**2).sum(axis=0) / tickers
    return agreement, size


def corrected(state: CalibrationState, spec: CalibrationSpec, quantiles: Floats32, relative: Floats32) -> Floats32:
    """Return quantiles [ticker, ..., horizon, level] as the state corrects them; `relative` is [ticker, ...].

    Bands are stretched about their median; then the median is shrunk, at most to the levels next to it.
    """
    factors = np.exp(state.scale + state.level + state.slope * _within(relative)[..., None, None])
    result = stretched(quantiles, factors)
    if not spec.shrink_median:
        return result
    shrunk = quantiles[..., MEDIAN] * state.shrinkage
    result[..., MEDIAN] = np.clip(shrunk, result[..., MEDIAN - 1], result[..., MEDIAN + 1])
    return result


def _within(relative: Floats32) -> Floats:
    """Return the relative volatility that counts; zero where it is unknown."""
    known: Floats = np.clip(np.nan_to_num(relative, nan=0.0).astype(np.float64), -LARGEST_STATE, LARGEST_STATE)
    return known


def followed(
    state: CalibrationState, spec: CalibrationSpec, origins: Origins, quantiles: Floats32
) -> tuple[Floats32, CalibrationState]:
    """Return corrected quantiles [ticker, session, horizon, level] of sessions without a gap, and the state after them.

    `quantiles` are those to be corrected at each session, NaN where nothing is issued. The tickers are the state's.
    """
    issued = np.empty_like(quantiles)
    for at, session in enumerate(origins.sessions):
        state = advanced(state, spec, origins.outcome[:, at])
        issued[:, at] = corrected(state, spec, quantiles[:, at], origins.relative_volatility[:, at])
        newest = _awaited(origins.at(slice(at, at + 1)), issued[:, at], quantiles[:, at])
        joined: dict[str, Any] = {
            name: np.concatenate([values[:, None], getattr(state, name)[:, :-1]], axis=1)
            for name, values in newest.items()
        }
        state = replace(state, **joined, session=session)
    return issued, state


def issued_late(state: CalibrationState, origins: Origins, issued: Floats32, quantiles: Floats32) -> CalibrationState:
    """Return the state with what its last session lacked, as a ticker's bar came late; nothing is learned.

    `origins` is of that session alone, `issued` and `quantiles` [ticker, horizon, level] are after and before the
    correction.
    """
    filled: dict[str, Any] = {}
    for name, newest in _awaited(origins, issued, quantiles).items():
        before = getattr(state, name)
        latest = np.where(np.isnan(before[:, 0]), newest, before[:, 0])
        filled[name] = np.concatenate([latest[:, None], before[:, 1:]], axis=1)
    return replace(state, **filled)


def _awaited(origins: Origins, issued: Floats32, quantiles: Floats32) -> dict[str, Floats32]:
    """Return what a state keeps of a session until its outcomes are known, by the names of AWAITED."""
    return {
        "pending": issued,
        "median": quantiles[..., MEDIAN],
        "volatility": origins.volatility[:, 0],
        "relative": origins.relative_volatility[:, 0],
    }


# --- As named arrays ---


def calibration_as_arrays(state: CalibrationState) -> dict[str, Array]:
    """Return the state as named arrays; the tickers are UTF-8, separated by line feeds."""
    return {
        **{name: getattr(state, name) for name in (*LEARNED, *AWAITED)},
        "tickers": names_as_array(state.tickers),
        "session": np.array([state.session.astype("datetime64[D]").astype(np.int64)]),
    }


def calibration_from_arrays(arrays: Mapping[str, Array]) -> CalibrationState:
    """Return the state of named arrays; raises FitError where they are not those of one."""
    try:
        tickers = names_from_array(arrays["tickers"])
        found = {name: arrays[name] for name in (*LEARNED, *AWAITED)}
        session = np.datetime64(int(arrays["session"][0]), "D")
        new = new_calibration(tickers, len(found["scale"]))
    except (KeyError, ValueError, IndexError, TypeError) as error:
        raise FitError(
            f"found no calibration state ({error!r}), expected its arrays; publish the model again"
        ) from error
    shapes, expected = ([values.shape for values in found.values()], [getattr(new, name).shape for name in found])
    if shapes != expected:
        raise FitError(f"found a calibration state of shapes {shapes}, expected {expected}; publish the model again")
    return CalibrationState(tickers, **found, session=session)
