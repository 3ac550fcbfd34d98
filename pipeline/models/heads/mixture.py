"""The mixture head: weights, locations and scales of some normals."""

import math

import torch
from torch import Tensor, nn

from pipeline.models.heads.head import Head, Spread
from pipeline.models.specification import MixtureHeadSpec

SMALLEST_SCALE = 1e-3
HALVINGS = 24  # of an interval some scales wide: closer than float32 tells apart
WIDEST = 9.0  # no level of interest lies further from a component than this many of its scales


def mixture_head(spec: MixtureHeadSpec) -> Head:
    """Return the head of three raw numbers per component; training begins with scales around one."""
    scales = torch.logspace(-0.4, 0.4, spec.components) - SMALLEST_SCALE
    zero = torch.zeros(spec.components)
    start = torch.cat((zero, zero, torch.log(torch.expm1(scales))))
    return Head(3 * spec.components, start, _loss, _inverse)


def parameters(raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return log weights, locations and scales [..., component] of raw numbers [..., 3 x component]."""
    weight, location, scale = raw.chunk(3, dim=-1)
    return weight.log_softmax(dim=-1), location, nn.functional.softplus(scale) + SMALLEST_SCALE


def _loss(raw: Tensor, outcome: Tensor) -> Tensor:
    weight, location, scale = parameters(raw)
    z = (outcome[..., None] - location) / scale  # [..., component]
    density = weight - 0.5 * z**2 - scale.log() - 0.5 * math.log(2 * math.pi)
    return -density.logsumexp(dim=-1)


def _inverse(raw: Tensor, levels: Tensor, _spread: Spread) -> Tensor:
    """Return quantiles by halving intervals: the distribution function of a mixture has no inverse in closed form."""
    weight, location, scale = (value[..., None, :] for value in parameters(raw))  # [..., horizon, 1, component]
    share = weight.exp()
    wanted = levels.to(raw).expand(*raw.shape[:-1], -1)  # [..., horizon, level]
    low = (location - WIDEST * scale).amin(dim=-1).expand(wanted.shape)  # [..., horizon, level]
    high = (location + WIDEST * scale).amax(dim=-1).expand(wanted.shape)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below = (share * torch.special.ndtr((middle[..., None] - location) / scale)).sum(dim=-1) < wanted
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2
