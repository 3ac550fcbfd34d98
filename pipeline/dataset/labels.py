"""Labels as a fit may see them: scaled, and masked where they are not known before their range ends."""

import numpy as np

from pipeline.arrays import Booleans, Floats32
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.errors import FitError


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


def refuse_no_labels(known: Booleans, part: Range, horizon: int | None = None) -> None:
    """Raise FitError where no label of a range is known, of one horizon or (None) of any."""
    if not known.any():
        of_horizon = "" if horizon is None else f" of horizon {horizon}"
        raise FitError(
            f"found no label{of_horizon} that is known between {part.first} and {part.until}, expected some to learn "
            "from or to validate with; give more history or a longer range"
        )
