"""Heads whose bands are outcomes of the validation range: a point, and the classes down, flat and up."""

import torch
from torch import Tensor, nn

from pipeline.forecasters.recurrent.heads.head import Head, Spread
from pipeline.forecasters.recurrent.specification import DirectionHeadSpec, PointHeadSpec

GRID = torch.linspace(0.0, 1.0, 201)
"""The levels at which a quantile function is stored; between them it is linear."""


def quantile_function(outcomes: Tensor, without: float = 0.0) -> Tensor:
    """Return the quantiles [grid] of outcomes [row]; all of them `without` where there is none."""
    if not len(outcomes):
        return torch.full((len(GRID),), without)
    return torch.quantile(outcomes.double(), GRID.double()).float()


def at_levels(functions: Tensor, levels: Tensor) -> Tensor:
    """Return quantile functions [horizon, grid] at levels [..., horizon, level], linear between grid points."""
    place = levels.clamp(0.0, 1.0) * (len(GRID) - 1)  # [..., horizon, level]
    # A place without a forecast is NaN: any grid point will do, and it stays NaN below.
    below = place.floor().clamp_max(len(GRID) - 2).nan_to_num().long()
    horizon = torch.arange(functions.shape[0], device=levels.device)[:, None].expand(levels.shape)
    left, right = functions[horizon, below], functions[horizon, below + 1]  # [..., horizon, level]
    return left + (place - below) * (right - left)


def point_head(spec: PointHeadSpec) -> Head:
    """Return the head of one raw number: the forecast itself."""
    return Head(
        1, torch.zeros(1), lambda raw, outcome: _point_loss(spec, raw[..., 0], outcome), _point_inverse, _residuals
    )


def _point_loss(spec: PointHeadSpec, point: Tensor, outcome: Tensor) -> Tensor:
    if spec.loss == "mse":
        return (point - outcome) ** 2
    return nn.functional.huber_loss(point, outcome, reduction="none", delta=spec.huber_delta)


def _residuals(raw: Tensor, outcome: Tensor, known: Tensor) -> Spread:
    """Return the quantile function of the residuals [horizon, grid]."""
    residual = outcome - raw[..., 0]  # [..., horizon]
    rows = [quantile_function(residual[..., h][known[..., h]]) for h in range(residual.shape[-1])]
    return {"residual": torch.stack(rows)}


def _point_inverse(raw: Tensor, levels: Tensor, spread: Spread) -> Tensor:
    around = spread.get("residual", torch.zeros(raw.shape[-2], len(GRID)))  # [horizon, grid]
    return raw + at_levels(around.to(raw), levels.to(raw).expand(*raw.shape[:-1], -1))


CLASSES = ("down", "flat", "up")


def direction_head(spec: DirectionHeadSpec) -> Head:
    """Return the head of one raw number per class: log weights, of which LogSoftmax makes log probabilities."""

    def loss(raw: Tensor, outcome: Tensor) -> Tensor:
        classes_second = raw.movedim(-1, 1)  # [row, class, ...]
        return nn.functional.cross_entropy(classes_second, class_of(outcome, spec.flat), reduction="none")  # [row, ...]

    def learn(_raw: Tensor, outcome: Tensor, known: Tensor) -> Spread:
        return _within_classes(outcome, known, spec.flat)

    return Head(
        len(CLASSES), torch.zeros(len(CLASSES)), loss, _direction_inverse, learn, lambda raw: raw.softmax(dim=-1)
    )


def class_of(outcome: Tensor, flat: float) -> Tensor:
    """Return 0 (down), 1 (flat) or 2 (up) for outcomes [...]; flat includes its edges."""
    return 1 + (outcome > flat).long() - (outcome < -flat).long()


def _within_classes(outcome: Tensor, known: Tensor, flat: float) -> Spread:
    """Return the quantile function of the outcomes of each class, by its name [horizon, grid].

    A class that never occurred stands at its edge, flat at zero, so that the classes keep their order.
    """
    which = class_of(outcome, flat)  # [..., horizon]
    rows: dict[str, Tensor] = {}
    for at, (name, edge) in enumerate(zip(CLASSES, (-flat, 0.0, flat), strict=True)):
        members = known & (which == at)  # [..., horizon]
        functions = [quantile_function(outcome[..., h][members[..., h]], edge) for h in range(outcome.shape[-1])]
        rows[name] = torch.stack(functions)
    return rows


def _direction_inverse(raw: Tensor, levels: Tensor, spread: Spread) -> Tensor:
    """Return the quantiles of the mixture of classes: they lie side by side, so a level falls into one of them."""
    share = raw.softmax(dim=-1)  # [..., horizon, class]
    wanted = levels.to(raw).expand(*raw.shape[:-1], -1)  # [..., horizon, level]
    result, before = torch.zeros_like(wanted), torch.zeros_like(share[..., :1])
    for at, name in enumerate(CLASSES):
        probability = share[..., at : at + 1]  # [..., horizon, 1]
        functions = spread.get(name, torch.zeros(raw.shape[-2], len(GRID))).to(raw)
        within = at_levels(functions, (wanted - before) / probability.clamp_min(1e-9))
        result = torch.where(wanted > before, within, result) if at else within
        before = before + probability
    return result
