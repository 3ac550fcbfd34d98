"""Labels as a fit may see them: scaled, and masked where they are not known before their range ends."""

import numpy as np

from pipeline.arrays import Booleans, Floats32
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.models.specification import RecurrentSpec
from pipeline.training.specification import TrainingSpec


def scaled_target(frames: Frames) -> Floats32:
    """Return y_h / (vol sqrt(h)) [ticker, session, horizon]."""
    target: Floats32 = frames.future_return / origin_scale(frames.volatility, frames.horizons)
    return target


def origin_scale(volatility: Floats32, horizons: int) -> Floats32:
    """Return vol sqrt(h) [ticker, session, horizon], the unit of every scaled quantile."""
    root = np.sqrt(np.arange(1, horizons + 1, dtype=np.float32))  # [horizon]
    return volatility[..., None] * root


def label_mask(frames: Frames, part: Range) -> Booleans:
    """Return True [ticker, session, horizon] at usable origins of a range whose label is known before it ends."""
    mask = np.zeros(frames.future_return.shape, dtype=bool)
    mask[:, part.start : part.stop] = part.label_known(frames.horizons)[None]
    return mask & frames.usable[..., None] & np.isfinite(frames.future_return)


def origin_weight(frames: Frames, train: Range, power: float) -> Floats32:
    """Return each origin's weight [ticker, session]: its volatility to a power, one on average over the training."""
    volatility = np.nan_to_num(frames.volatility, nan=0.0)
    weight: Floats32 = np.where(volatility > 0, volatility, np.float32(1.0)) ** np.float32(power)
    counted = frames.usable[:, train.start : train.stop]
    mean = weight[:, train.start : train.stop][counted].mean() if counted.any() else 1.0
    return (weight / np.float32(mean)).astype(np.float32)


def supervised_from(spec: RecurrentSpec, training: TrainingSpec) -> int:
    """Return the first supervised session of a chunk: the one after the burn-in, or the last of many to one."""
    return training.chunk_sessions - 1 if spec.shape == "many_to_one" else training.burn_in_sessions
