"""The direction head: down, flat or up, with each class's own outcomes as the bands within it."""

import torch
from torch import Tensor

from pipeline.models.heads.empirical import GRID, at_levels, quantile_function
from pipeline.models.heads.head import Head, Spread
from pipeline.models.specification import DirectionHeadSpec

CLASSES = ("down", "flat", "up")


def direction_head(spec: DirectionHeadSpec) -> Head:
    """Return the head of one raw number per class: log weights, of which LogSoftmax makes log probabilities."""

    def loss(raw: Tensor, outcome: Tensor) -> Tensor:
        which = class_of(outcome, spec.flat)  # [...]
        return -raw.log_softmax(dim=-1).gather(-1, which[..., None])[..., 0]

    def learn(_raw: Tensor, outcome: Tensor, known: Tensor) -> Spread:
        return _within_classes(outcome, known, spec.flat)

    return Head(len(CLASSES), torch.zeros(len(CLASSES)), loss, _inverse, learn, lambda raw: raw.softmax(dim=-1))


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
        own = known & (which == at)  # [..., horizon]
        functions = [quantile_function(outcome[..., h][own[..., h]], edge) for h in range(outcome.shape[-1])]
        rows[name] = torch.stack(functions)
    return rows


def _inverse(raw: Tensor, levels: Tensor, spread: Spread) -> Tensor:
    """Return the quantiles of the mixture of classes: they lie side by side, so a level falls into one of them."""
    share = raw.softmax(dim=-1)  # [..., horizon, class]
    wanted = levels.to(raw).expand(*raw.shape[:-1], -1)  # [..., horizon, level]
    result, before = torch.zeros_like(wanted), torch.zeros_like(share[..., :1])
    for at, name in enumerate(CLASSES):
        own = share[..., at : at + 1]  # [..., horizon, 1]
        functions = spread.get(name, torch.zeros(raw.shape[-2], len(GRID))).to(raw)
        within = at_levels(functions, (wanted - before) / own.clamp_min(1e-9))
        result = torch.where(wanted > before, within, result) if at else within
        before = before + own
    return result
