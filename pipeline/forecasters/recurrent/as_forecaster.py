"""A recurrent network in the protocol of all forecasters; torch is imported only where something is computed."""

from collections.abc import Iterator

import numpy as np

from pipeline.arrays import Booleans, Floats32
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, origin_scale
from pipeline.forecasters.forecaster import FitData, Fitted, Forecaster, Parameters, all_together, has_origins
from pipeline.forecasters.recurrent.specification import RecurrentSpec, lookback_of, supervised_from
from pipeline.forecasters.training_specification import TrainingSpec


def fit(spec: RecurrentSpec, data: FitData) -> Parameters:
    """Return the weights of a trained network, its scaler and what its head learned from the validation range.

    Raises FitError when no label can be supervised or the loss is not finite.
    """
    from pipeline.forecasters.recurrent.fitting import fit_network  # noqa: PLC0415  brings torch

    return fit_network(spec, data)


def quantiles(spec: RecurrentSpec, fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level]."""
    from pipeline.forecasters.recurrent.reading import read_quantiles  # noqa: PLC0415  brings torch
    from pipeline.forecasters.recurrent.sampling import sampled_quantiles  # noqa: PLC0415

    scaled = (sampled_quantiles if spec.horizon_mode == "recursive" else read_quantiles)(fitted, frames, origins)
    return scaled * origin_scale(frames.volatility[:, origins], fitted.horizons)[..., None]


def frames_by_network(spec: RecurrentSpec, training: TrainingSpec, frames: Frames, fold: Fold) -> Iterator[Frames]:
    """Yield the frames of each network of a fold: all tickers, or each ticker that can be learned alone."""
    if spec.scope == "universe":
        yield from all_together(spec, training, frames, fold)
        return
    learnable = has_origins(frames, fold) & can_learn_alone(frames, fold, supervised_from(spec, training))
    yield from (frames.at(np.array([row])) for row in np.flatnonzero(learnable))


def can_learn_alone(frames: Frames, fold: Fold, first_supervised: int) -> Booleans:
    """Return whether each ticker has what a network of its own needs [ticker].

    That is a known label of every horizon to validate with, and one to train on with enough sessions before it.
    """
    reached = np.arange(len(frames.sessions)) >= (frames.first + first_supervised)[:, None]  # [ticker, session]
    trains = (label_mask(frames, fold.train) & reached[..., None]).any(axis=(1, 2))
    validates = np.all(np.any(label_mask(frames, fold.validation), axis=1), axis=1)
    can: Booleans = trains & validates
    return can


FORECASTER = Forecaster(
    RecurrentSpec,
    fit,
    quantiles,
    "network",
    features=lambda _: None,  # those of the experiment
    split=frames_by_network,
    per_ticker=lambda spec: spec.scope == "ticker",
    lookback_sessions=lookback_of,
)
