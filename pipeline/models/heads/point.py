"""The point head: one value per horizon, with the residuals of the validation range as its bands."""

import torch
from torch import Tensor, nn

from pipeline.models.heads.empirical import GRID, at_levels, quantile_function
from pipeline.models.heads.head import Head, Spread
from pipeline.models.specification import PointHeadSpec


def point_head(spec: PointHeadSpec) -> Head:
    """Return the head of one raw number: the forecast itself."""
    return Head(1, torch.zeros(1), lambda raw, outcome: _loss(spec, raw[..., 0], outcome), _inverse, _learn)


def _loss(spec: PointHeadSpec, point: Tensor, outcome: Tensor) -> Tensor:
    if spec.loss == "mse":
        return (point - outcome) ** 2
    return nn.functional.huber_loss(point, outcome, reduction="none", delta=spec.huber_delta)


def _learn(raw: Tensor, outcome: Tensor, known: Tensor) -> Spread:
    """Return the quantile function of the residuals [horizon, grid]."""
    residual = outcome - raw[..., 0]  # [..., horizon]
    rows = [quantile_function(residual[..., h][known[..., h]]) for h in range(residual.shape[-1])]
    return {"residual": torch.stack(rows)}


def _inverse(raw: Tensor, levels: Tensor, spread: Spread) -> Tensor:
    around = spread.get("residual", torch.zeros(raw.shape[-2], len(GRID)))  # [horizon, grid]
    return raw + at_levels(around.to(raw), levels.to(raw).expand(*raw.shape[:-1], -1))
