"""The state of the adaptive correction: advanced once per session, the same in a backtest and from day to day."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.arrays import Array, Floats, Floats32, Sessions
from pipeline.errors import FitError
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.combination_state import NEVER, names_as_array, names_from_array
from pipeline.forecasting.conformal import (
    MOST_OF_LEVEL,
    MOST_OF_SCALE,
    OFF_MEDIAN,
    excess_beyond,
    stretched,
)
from pipeline.forecasting.specification import CalibrationSpec


@dataclass(frozen=True, eq=False)
class CalibrationState:
    """What the correction has learned up to the close of a session, and the forecasts whose outcomes it waits for.

    A log factor is `scale` + `level`. `pending` holds the quantiles as they were issued at the last H sessions, the
    newest first, NaN where nothing was issued; `session` is the last of them.
    """

    tickers: tuple[str, ...]
    scale: Floats  # [horizon, 1]
    level: Floats  # [horizon, level]
    pending: Floats32  # [ticker, session back, horizon, level]
    session: np.datetime64 = NEVER

    @property
    def horizons(self) -> int:
        """H, the number of horizons."""
        return len(self.scale)

    @property
    def factors(self) -> Floats:
        """The factors [horizon, level] that stretch a band about its median."""
        factors: Floats = np.exp(self.scale + self.level)
        return factors

    @property
    def awaited(self) -> tuple[str, ...]:
        """The tickers with a forecast whose outcome is awaited."""
        return tuple(self.tickers[row] for row in np.flatnonzero(np.isfinite(self.pending).any(axis=(1, 2, 3))))

    def of(self, tickers: Sequence[str]) -> "CalibrationState":
        """Return the same state with the pending forecasts of these tickers, none where a ticker is new."""
        if tuple(tickers) == self.tickers:
            return self
        rows = {ticker: row for row, ticker in enumerate(self.tickers)}
        pending = np.full((len(tickers), *self.pending.shape[1:]), np.nan, dtype=np.float32)
        for row, ticker in enumerate(tickers):
            if ticker in rows:
                pending[row] = self.pending[rows[ticker]]
        return replace(self, tickers=tuple(tickers), pending=pending)


def new_calibration(tickers: Sequence[str], horizons: int) -> CalibrationState:
    """Return the state before any session: no correction, and nothing issued."""
    pending = np.full((len(tickers), horizons, horizons, len(LEVELS)), np.nan, dtype=np.float32)
    return CalibrationState(tuple(tickers), np.zeros((horizons, 1)), np.zeros((horizons, len(LEVELS))), pending)


def advanced(state: CalibrationState, spec: CalibrationSpec, outcome: Floats32) -> CalibrationState:
    """Return the state after a session's close; `outcome` [ticker, horizon] became known at it, NaN where unknown.

    Quantile tracking, Angelopoulos, Candes and Tibshirani (2023), section 2, after Gibbs and Candes (2021), eq. 2, on
    log factors: a level that is missed more often than its tail says grows, else it shrinks. A log factor is the sum
    of a scale that all levels of a horizon share, which is quick, and a part of its own, which is slow. What is judged
    is what was issued. A horizon without a known outcome of an issued forecast stays as it is.
    """
    ahead = np.arange(state.horizons)
    issued = state.pending[:, ahead, ahead]  # [ticker, horizon, level]: the forecast of this session at each horizon
    excess = excess_beyond(issued, outcome) / (ahead[:, None] + 1)
    scale = state.scale + spec.scale_rate * excess[:, OFF_MEDIAN].mean(axis=1, keepdims=True)
    level = state.level + spec.level_rate * excess
    return replace(
        state,
        scale=np.clip(scale, -MOST_OF_SCALE, MOST_OF_SCALE),
        level=np.clip(level, -MOST_OF_LEVEL, MOST_OF_LEVEL),
    )


def with_issued(state: CalibrationState, session: np.datetime64, issued: Floats32) -> CalibrationState:
    """Return the state with the quantiles [ticker, horizon, level] that were issued at a session, NaN for none."""
    pending = np.concatenate([issued[:, None], state.pending[:, :-1]], axis=1)
    return replace(state, pending=pending, session=session)


def followed(
    state: CalibrationState, spec: CalibrationSpec, sessions: Sessions, quantiles: Floats32, outcome: Floats32
) -> tuple[Floats32, CalibrationState]:
    """Return corrected quantiles [ticker, session, horizon, level] of sessions without a gap, and the state after them.

    `quantiles` are those to be corrected at each session, NaN where nothing is issued; `outcome` [ticker, session,
    horizon] by the session at which it became known (outcomes_known_at). The tickers are the state's.
    """
    issued = np.empty_like(quantiles)
    for at, session in enumerate(sessions):
        state = advanced(state, spec, outcome[:, at])
        issued[:, at] = stretched(quantiles[:, at], state.factors)
        state = with_issued(state, session, issued[:, at])
    return issued, state


def outcomes_known_at(future_return: Floats32, sessions: slice) -> Floats32:
    """Return the outcomes [ticker, session, horizon] by the session at which each became known.

    `future_return` [ticker, origin, horizon] is by origin: that of origin s and horizon h is known at s + h.
    """
    known = np.full((len(future_return), sessions.stop - sessions.start, future_return.shape[2]), np.nan, np.float32)
    for h in range(future_return.shape[2]):
        first = max(sessions.start, h + 1)
        if first < sessions.stop:
            known[:, first - sessions.start :, h] = future_return[:, first - h - 1 : sessions.stop - h - 1, h]
    return known


# --- As named arrays ---


def calibration_as_arrays(state: CalibrationState) -> dict[str, Array]:
    """Return the state as named arrays; the tickers are UTF-8, separated by line feeds."""
    return {
        "tickers": names_as_array(state.tickers),
        "scale": state.scale,
        "level": state.level,
        "pending": state.pending,
        "session": np.array([state.session.astype("datetime64[D]").astype(np.int64)]),
    }


def calibration_from_arrays(arrays: Mapping[str, Array]) -> CalibrationState:
    """Return the state of named arrays; raises FitError where they are not those of one."""
    try:
        tickers = names_from_array(arrays["tickers"])
        scale, level, pending = (arrays[name] for name in ("scale", "level", "pending"))
        horizons = len(scale)
        shapes = (scale.shape, level.shape, pending.shape)
        expected = ((horizons, 1), (horizons, len(LEVELS)), (len(tickers), horizons, horizons, len(LEVELS)))
        if shapes != expected:
            raise FitError(
                f"found a calibration state of shapes {shapes}, expected {expected}; publish the model again"
            )
        session = np.datetime64(int(arrays["session"][0]), "D")
    except (KeyError, ValueError, IndexError) as error:
        raise FitError(
            f"found no calibration state ({error!r}), expected its arrays; publish the model again"
        ) from error
    return CalibrationState(tickers, scale, level, pending, session)
