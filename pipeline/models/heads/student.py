"""The Student t head: location, scale and degrees of freedom."""

import math

import torch
from scipy.special import stdtrit
from torch import Tensor, nn

from pipeline.models.heads.head import Head, Spread

FEWEST_DEGREES = 2.1
START_DEGREES = 5.0
SMALLEST_SCALE = 1e-3


def student_head() -> Head:
    """Return the head of three raw numbers; training begins at unit variance and five degrees of freedom."""
    scale = math.sqrt(1 - 2 / START_DEGREES) - SMALLEST_SCALE
    start = torch.tensor([0.0, math.log(math.expm1(scale)), math.log(math.expm1(START_DEGREES - FEWEST_DEGREES))])
    return Head(3, start, _loss, _inverse)


def parameters(raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return location, scale and degrees of freedom [...] of raw numbers [..., 3]."""
    location, scale, degrees = raw.unbind(dim=-1)
    positive = nn.functional.softplus
    return location, positive(scale) + SMALLEST_SCALE, positive(degrees) + FEWEST_DEGREES


def _loss(raw: Tensor, outcome: Tensor) -> Tensor:
    location, scale, degrees = parameters(raw)
    z, half = (outcome - location) / scale, (degrees + 1) / 2
    norm = torch.lgamma(half) - torch.lgamma(degrees / 2) - 0.5 * torch.log(math.pi * degrees)
    return scale.log() - norm + half * torch.log1p(z**2 / degrees)


def _inverse(raw: Tensor, levels: Tensor, _spread: Spread) -> Tensor:
    location, scale, degrees = (value[..., None] for value in parameters(raw))  # [..., horizon, 1]
    unit = stdtrit(degrees.double().cpu().numpy(), levels.double().cpu().numpy())  # [..., horizon, level]
    return location + scale * torch.as_tensor(unit, dtype=raw.dtype, device=raw.device)
