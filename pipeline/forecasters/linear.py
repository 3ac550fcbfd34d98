"""Linear quantile regression: a weight vector per horizon and level."""

from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import BaseModel

from pipeline.arrays import Floats32
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, origin_scale, scaled_target
from pipeline.dataset.scaling import Scaler, fit_scaler
from pipeline.errors import FitError
from pipeline.forecasters.forecaster import LEVELS, FitData, Fitted, Forecaster, Parameters, own_features
from pipeline.forecasters.unit_quantiles import rearranged

if TYPE_CHECKING:
    from torch import Tensor

STEPS = 1000
BATCH_ROWS = 4096
LEARNING_RATE = 0.1


class LinearSpec(BaseModel, frozen=True, extra="forbid"):
    """Linear quantile regression on the HAR-like features, one weight vector per horizon and level."""

    kind: Literal["linear"] = "linear"
    features: tuple[str, ...] = (
        "log_volatility",
        "log_range",
        "volatility_5",
        "volatility_20",
        "volatility_60",
        "market_log_range",
        "log_return",
        "volume_surprise",
    )


def fit(_spec: LinearSpec, data: FitData) -> Parameters:
    """Return the weights [feature + 1, horizon x level] of a linear quantile regression, and its scaler.

    Koenker and Bassett (1978), eq. 2.2, minimised by AdamW on drawn rows under a one-cycle learning rate. Raises
    FitError where the training range has no label.
    """
    import torch  # noqa: PLC0415  heavy, and forecasts do without it

    frames, train = data.frames, data.fold.train
    scaler = fit_scaler(frames, train)
    known = label_mask(frames, train)  # [ticker, session, horizon]
    rows = known.any(axis=2)
    if not rows.any():
        raise FitError(f"no label to learn from between {train.first} and {train.until}")
    features = torch.from_numpy(with_constant(scaler.apply(frames.features[rows])))  # [row, feature + 1]
    target = torch.from_numpy(np.where(known[rows], scaled_target(frames)[rows], np.float32(0.0)))  # [row, horizon]
    weights = _descend(features, target, torch.from_numpy(known[rows]), data.seed)
    return Parameters({"weights": weights.numpy(), "scaler.mean": scaler.mean, "scaler.std": scaler.std})


def with_constant(features: Floats32) -> Floats32:
    """Return features [..., feature] with a last column of ones."""
    return np.concatenate((features, np.ones((*features.shape[:-1], 1), dtype=np.float32)), axis=-1)


def _descend(features: "Tensor", target: "Tensor", known: "Tensor", seed: int) -> "Tensor":
    import torch  # noqa: PLC0415

    from pipeline.forecasters.recurrent.losses import masked_mean, pinball  # noqa: PLC0415

    generator = torch.Generator().manual_seed(seed)
    horizons = target.shape[1]
    weights = torch.zeros(features.shape[1], horizons * len(LEVELS), requires_grad=True)
    optimizer = torch.optim.AdamW([weights], lr=LEARNING_RATE, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=STEPS)
    for _ in range(STEPS):
        row = torch.randint(len(features), (BATCH_ROWS,), generator=generator)  # [batch]
        quantiles = (features[row] @ weights).view(-1, horizons, len(LEVELS))  # [batch, horizon, level]
        loss = masked_mean(pinball(quantiles, target[row]).mean(dim=-1), known[row])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
    return weights.detach()


def quantiles(_spec: LinearSpec, fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level], sorted over the levels."""
    scaler = Scaler(fitted.arrays["scaler.mean"], fitted.arrays["scaler.std"])
    features = scaler.apply(frames.features[:, origins])  # [ticker, origin, feature]
    weights = fitted.arrays["weights"]  # [feature + 1, horizon x level]
    scaled = (features @ weights[:-1] + weights[-1]).reshape(*features.shape[:2], fitted.horizons, len(LEVELS))
    return rearranged(scaled) * origin_scale(frames.volatility[:, origins], fitted.horizons)[..., None]


FORECASTER = Forecaster(LinearSpec, fit, quantiles, "baseline", features=own_features)
