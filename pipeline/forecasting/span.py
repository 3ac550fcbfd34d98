"""The sessions that a post-processing reads: forecasts and outcomes, of tickers that are absent today too."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Booleans, Floats32
from pipeline.dataset.frames import Frames
from pipeline.forecasters.forecaster import Fitted
from pipeline.forecasting.calibration_state import outcomes_known_at
from pipeline.forecasting.combination import Origins
from pipeline.forecasting.forecasts import NETWORK, forecasts_by_forecaster


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

    def origins(self, first: int) -> Origins:
        """Return what is known of the sessions from index `first` on, outcomes of the tickers learned from alone."""
        new = slice(first, self.stop)
        outcome, volatility = outcomes_known_at(self.outcome, new), self.wide(self.frames.volatility)[:, new]
        return Origins(self.frames.sessions[new], outcome, volatility, self.learned_from)
