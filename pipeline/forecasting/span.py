"""The sessions that a post-processing reads: forecasts, volatilities and outcomes by the session they are known at."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Booleans, Floats32, Sessions
from pipeline.dataset.frames import Frames
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasting.forecasts import NETWORK, forecasts_by_forecaster


@dataclass(frozen=True, eq=False)
class Origins:
    """What combination and calibration read of sessions without a gap, besides the quantiles.

    `outcome` is by the session at which it became known, NaN where it did not (outcomes_known_at); `volatility` is
    daily, `relative_volatility` the log of it over its usual level (dataset.targets). Nothing is learned from the
    tickers that are not among `learned_from`, though they are forecast.
    """

    sessions: Sessions  # [session]
    outcome: Floats32  # [ticker, session, horizon]
    volatility: Floats32  # [ticker, session]
    relative_volatility: Floats32  # [ticker, session]
    learned_from: Booleans  # [ticker]

    def at(self, part: slice) -> "Origins":
        """Return a part of the sessions."""
        return Origins(
            self.sessions[part],
            self.outcome[:, part],
            self.volatility[:, part],
            self.relative_volatility[:, part],
            self.learned_from,
        )


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


@dataclass(frozen=True)
class Span:
    """The sessions of frames, from index `begin` to `stop` (excluded), that a post-processing reads.

    Arrays of tickers have `absent` rows of NaN more: those of tickers with an awaited outcome that the frames lack.
    """

    frames: Frames
    fits: Sequence[Fitted]
    members: tuple[str, ...]
    absent: int
    begin: int
    stop: int

    def read(self, forecasts: Mapping[str, Floats32], start: int) -> dict[str, Floats32]:
        """Return forecasts of all sessions of the span by members and network; those given begin at `start`."""
        names = [name for name in forecasts if name in (*self.members, NETWORK)]
        if self.begin == start:
            return {name: self.wide(forecasts[name]) for name in names}
        fits = [fitted for fitted in self.fits if fitted.forecaster.kind in names]
        earlier = forecasts_by_forecaster(fits, self.frames, slice(self.begin, start))
        return {name: self.wide(np.concatenate([earlier[name], forecasts[name]], axis=1)) for name in names}

    def wide(self, values: Floats32) -> Floats32:
        """Return values [ticker, ...] with the rows of absent tickers."""
        return np.concatenate([values, np.full((self.absent, *values.shape[1:]), np.nan, dtype=np.float32)])

    @property
    def learned_from(self) -> Booleans:
        """Whether outcomes of each ticker are learned from [ticker]."""
        network = (fitted for fitted in self.fits if fitted.forecaster.kind == NETWORK)
        trained_on = np.isin(self.frames.tickers, [ticker for fitted in network for ticker in fitted.tickers])
        chosen: Booleans = trained_on if trained_on.any() else ~trained_on
        return np.concatenate([chosen, np.zeros(self.absent, dtype=bool)])

    @property
    def outcome(self) -> Floats32:
        """The outcomes [ticker, origin, horizon] of the tickers learned from, by origin, NaN elsewhere."""
        return np.where(self.learned_from[:, None, None], self.wide(self.frames.future_return), np.float32(np.nan))

    def origins(self, part: slice) -> Origins:
        """Return what is known of some sessions, as indices of the frames; outcomes of those learned from alone."""
        volatility, relative = (
            self.wide(values[:, part]) for values in (self.frames.volatility, self.frames.relative_volatility)
        )
        outcome = outcomes_known_at(self.outcome, part)
        return Origins(self.frames.sessions[part], outcome, volatility, relative, self.learned_from)
