"""Direction: what quantiles say of it, and learned class probabilities, scored against the classes' own frequencies."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.arrays import Booleans, Floats, Floats32, Indices
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, scaled_target
from pipeline.evaluation.significance.mean_test import long_lags, mean_per_session
from pipeline.evaluation.significance.predictive_ability import diebold_mariano
from pipeline.forecasters.forecaster import LEVELS, Fitted
from pipeline.forecasting.backtest import test_slice
from pipeline.forecasting.forecasts import fits_of, mean_over_fits
from pipeline.training.fits import class_probabilities
from pipeline.training.jobs import FitResult

CLASS_COUNT = 3  # down, flat, up
SMALLEST = float(np.finfo(np.float32).eps)
"""A probability counts as this at least: a float32 network rounds a smaller one to nothing, at an infinite loss."""


def rise_probability(quantiles: Sequence[float], reference: float) -> float:
    """Return the probability of an outcome above `reference` by quantiles at LEVELS, linear between two of them.

    Below the first quantile and above the last only a bound is known: the result lies between 1 - LEVELS[-1] and
    1 - LEVELS[0], and is NaN where a quantile is.
    """
    values = np.asarray(quantiles, dtype=np.float64)
    return float(1 - np.interp(reference, values, LEVELS)) if np.isfinite(values).all() else float("nan")


@dataclass(frozen=True)
class ClassForecasts:
    """What was said of the classes over test origins, and which of them came."""

    learned: Floats  # [ticker, origin, horizon, class], NaN where the network is silent
    frequencies: Floats  # the same shape: the classes' shares in the training range of the origin's fold
    outcome: Indices  # [ticker, origin, horizon], 0 down, 1 flat, 2 up
    known: Booleans  # [ticker, origin, horizon]

    @property
    def scored(self) -> Booleans:
        """True [ticker, origin, horizon] where the network spoke and the outcome is known."""
        mask: Booleans = self.known & np.isfinite(self.learned).all(axis=-1)
        return mask


def direction_table(results: Sequence[FitResult], folds: Sequence[Fold], frames: Frames) -> pd.DataFrame | None:
    """Return a row per horizon with the scores of learned class probabilities; None where no network learned any.

    Columns are horizon, rows, log_loss and brier, each also with the ending _frequencies for the baseline, dm_p (of
    the log loss per session) and dm_lags. A recursive network learns the classes of the first horizon alone.
    """
    parts = [_of_fold(fits, fold, frames) for fold in folds if (fits := _classifiers(results, fold))]
    if not parts:
        return None
    whole = ClassForecasts(
        learned=np.concatenate([part.learned for part in parts], axis=1),
        frequencies=np.concatenate([part.frequencies for part in parts], axis=1),
        outcome=np.concatenate([part.outcome for part in parts], axis=1),
        known=np.concatenate([part.known for part in parts], axis=1),
    )
    return pd.DataFrame([_row(whole, h) for h in range(whole.learned.shape[2])])


def _classifiers(results: Sequence[FitResult], fold: Fold) -> list[Fitted]:
    return [fitted for fitted in fits_of(results, fold) if flat_of(fitted) is not None]


def flat_of(fitted: Fitted) -> float | None:
    """Return half the width of the class flat of a network with a direction head, None for any other forecaster."""
    return getattr(fitted.forecaster, "flat", None)


def _of_fold(fits: Sequence[Fitted], fold: Fold, frames: Frames) -> ClassForecasts:
    origins, flat = test_slice(fold), flat_of(fits[0]) or 0.0
    learned = mean_over_fits(fits, frames, origins, class_probabilities).astype(np.float64)
    horizons = learned.shape[2]
    target = scaled_target(frames)[..., :horizons]
    frequencies = class_frequencies(classes_of(target, flat), label_mask(frames, fold.train)[..., :horizons])
    tested = target[:, origins]
    return ClassForecasts(
        learned=learned,
        frequencies=np.broadcast_to(frequencies, learned.shape),
        outcome=classes_of(tested, flat),
        known=frames.usable[:, origins, None] & np.isfinite(tested),
    )


def classes_of(target: Floats32, flat: float) -> Indices:
    """Return 0 (down), 1 (flat) or 2 (up) for outcomes [...] in units of the target; flat includes its edges."""
    classes: Indices = 1 + (target > flat).astype(np.int64) - (target < -flat).astype(np.int64)
    return classes


def class_frequencies(classes: Indices, known: Booleans) -> Floats:
    """Return the share of each class [horizon, class] among the known ones [ticker, session, horizon], over tickers.

    One of each is added (Laplace's rule of succession), so that a class that never came is not taken for impossible.
    """
    counts = np.stack([(known & (classes == k)).sum(axis=(0, 1)) for k in range(CLASS_COUNT)], axis=-1) + 1.0
    shares: Floats = counts / counts.sum(axis=-1, keepdims=True)
    return shares


def log_loss(probabilities: Floats, outcome: Indices) -> Floats:
    """Return minus the log of what was said of the class that came [row], for probabilities [row, class]."""
    said = probabilities[np.arange(len(outcome)), outcome]
    loss: Floats = -np.log(np.clip(said, SMALLEST, 1.0))
    return loss


def brier(probabilities: Floats, outcome: Indices) -> Floats:
    """Return the squared distance from what came, summed over classes [row]; Brier (1950), eq. 2."""
    distance: Floats = ((probabilities - np.eye(CLASS_COUNT)[outcome]) ** 2).sum(axis=-1)
    return distance


def _row(whole: ClassForecasts, h: int) -> dict[str, float]:
    where = whole.scored[..., h]  # [ticker, origin]
    outcome = whole.outcome[where, h]
    said: Mapping[str, Floats] = {"": whole.learned[where, h], "_frequencies": whole.frequencies[where, h]}
    losses = {name: log_loss(values, outcome) for name, values in said.items()}
    difference = np.full(where.shape, np.nan)  # [ticker, origin]
    difference[where] = losses[""] - losses["_frequencies"]
    test = diebold_mariano(mean_per_session(difference), h + 1, long_lags(h + 1))
    scores = {
        **{f"log_loss{name}": _mean(loss) for name, loss in losses.items()},
        **{f"brier{name}": _mean(brier(values, outcome)) for name, values in said.items()},
    }
    return {"horizon": h + 1, "rows": len(outcome), **scores, "dm_p": test.p, "dm_lags": test.lags}


def _mean(values: Floats) -> float:
    return float(values.mean()) if len(values) else float("nan")
