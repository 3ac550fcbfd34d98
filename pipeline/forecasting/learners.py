"""The learners of the combination: rates and weights by horizon, copy and level, as sessions go by."""

import numpy as np

from pipeline.arrays import Booleans, Floats, Floats32, Indices
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.combination_state import LEARNED, SMALLEST, CombinationState

RATE = 0.5
"""Chosen, like the copies, the start on validation and who takes part, on validation ranges alone; at most 1."""
TOO_LARGE = 0.6
"""A rate times what a regret can be above this makes E grow, to 0.5: exp(x - x^2) <= 1 + x holds for x >= -0.68."""
FASTEST = 0.5 / SMALLEST
"""The rate of a forecaster that was never awake."""
TINY = 1e-30
"""Below this a sum of squared regrets is none."""
STEEPEST: Floats32 = np.array([max(level, 1 - level) for level in LEVELS], dtype=np.float32)
"""The largest slope of the pinball loss of each level."""


class Learners:
    """R, V and E of every horizon, copy, level and forecaster while sessions go by."""

    def __init__(self, state: CombinationState) -> None:
        self._ahead = np.arange(state.horizons)
        self.arrays = {name: np.array(getattr(state, name)) for name in LEARNED}

    def learn(self, copy: Indices, regret: Floats32) -> None:
        """Learn the regrets [horizon, level, forecaster] of what the copies issued last."""
        at = self._ahead, copy
        squared = regret.astype(np.float64) ** 2
        self.arrays["regret"][at] += regret - self._rates(copy) * squared
        self.arrays["variance"][at] += squared

    def issue(
        self, copy: Indices, quantiles: Floats32, awake: Booleans | None, unit: Floats32
    ) -> tuple[Floats, Floats32, Floats32]:
        """Return weights, combined quantiles [horizon, level, ticker], and how far they are from each forecaster's.

        `quantiles` [horizon, level, forecaster, ticker] are zero where not `awake` (None: everywhere).
        """
        self._begin_new(copy, awake)
        while True:
            rates = self._rates(copy)
            weights = self._weights(copy, rates)
            mean = np.matmul(weights[:, :, None], quantiles)[:, :, 0]
            if awake is not None:
                with np.errstate(invalid="ignore"):
                    mean /= np.matmul(weights, awake[:, 0].astype(np.float64))  # NaN where all are silent
            found = mean.astype(np.float32)  # of forecasters that agree exactly what they say
            away = found[:, :, None] - quantiles
            if awake is not None:
                away = np.where(awake, away, np.float32(0))
            if not self._grown(copy, rates, np.matmul(np.abs(away), unit[:, None, :, None])[..., 0]):
                return weights, found, away

    def weights(self, copy: Indices) -> Floats:
        """Return the weights [horizon, level, forecaster] of the copies."""
        return self._weights(copy, self._rates(copy))

    def _weights(self, copy: Indices, rates: Floats) -> Floats:
        exponent = rates * self.arrays["regret"][self._ahead, copy] + np.log(rates)
        if rates.max() == FASTEST:  # some were never awake: they have no weight next to others that were
            new = rates == FASTEST
            exponent = np.where(new & ~new.all(axis=-1, keepdims=True), -np.inf, exponent)
        weights = np.exp(exponent - exponent.max(axis=-1, keepdims=True))
        shares: Floats = weights / weights.sum(axis=-1, keepdims=True)
        return shares

    def _rates(self, copy: Indices) -> Floats:
        variance, largest = (self.arrays[name][self._ahead, copy] for name in ("variance", "largest"))
        by_variance = RATE * np.sqrt(np.log(max(variance.shape[-1], 2)) / np.maximum(variance, TINY))
        rates: Floats = np.minimum(0.5 / largest, by_variance)
        return rates

    def _begin_new(self, copy: Indices, awake: Booleans | None) -> None:
        """Give who was never awake before the mean V and E of the others: it begins at a rate like theirs."""
        at = self._ahead, copy
        new = self.arrays["largest"][at] == SMALLEST
        if not new.any():
            return
        arrives = new & ~new.all(axis=-1, keepdims=True) & (True if awake is None else awake.any(axis=-1))
        others = np.maximum((~new).sum(axis=-1, keepdims=True), 1)
        for name in ("variance", "largest"):
            values = self.arrays[name][at]
            mean = np.where(new, 0.0, values).sum(axis=-1, keepdims=True) / others
            self.arrays[name][at] = np.where(arrives, mean, values)

    def _grown(self, copy: Indices, rates: Floats, distance: Floats32) -> bool:
        """Return whether E had to grow, as a rate was too large for what this round's regret can be."""
        bound = distance * STEEPEST[:, None]
        too_large = rates * bound > TOO_LARGE
        if not too_large.any():
            return False
        largest = self.arrays["largest"]
        largest[self._ahead, copy] = np.where(too_large, bound, largest[self._ahead, copy])
        return True
