"""Heads with a density: Student t and a mixture of normals, fitted by maximum likelihood."""

import math
from functools import cache

import numpy as np
import torch
from numpy.polynomial.chebyshev import chebfit
from scipy.special import stdtrit
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, Normal

from pipeline.arrays import Floats
from pipeline.forecasters.recurrent.heads.head import Head, Spread
from pipeline.forecasters.recurrent.specification import MixtureHeadSpec

MIN_DEGREES = 2.1
START_DEGREES = 5.0
MIN_SCALE = 1e-3
POWERS = 12
"""Of a Chebyshev series of quantiles: at the levels of a forecast the first one left out is of 1e-11."""


def student_head() -> Head:
    """Return the head of three raw numbers; training begins at unit variance and five degrees of freedom."""
    scale = math.sqrt(1 - 2 / START_DEGREES) - MIN_SCALE
    start = torch.tensor([0.0, math.log(math.expm1(scale)), math.log(math.expm1(START_DEGREES - MIN_DEGREES))])
    return Head(3, start, _student_loss, _student_inverse)


def student_parameters(raw: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return location, scale and degrees of freedom [...] of raw numbers [..., 3]."""
    location, scale, degrees = raw.unbind(dim=-1)
    positive = nn.functional.softplus
    return location, positive(scale) + MIN_SCALE, positive(degrees) + MIN_DEGREES


def _student_loss(raw: Tensor, outcome: Tensor) -> Tensor:
    # torch.distributions.StudentT is as quick, but refuses parameters that are not finite with an error of its own.
    location, scale, degrees = student_parameters(raw)
    squared = ((outcome - location) / scale) ** 2
    constant = torch.lgamma(degrees / 2) - torch.lgamma((degrees + 1) / 2) + 0.5 * torch.log(math.pi * degrees)
    return constant + torch.log(scale) + (degrees + 1) / 2 * torch.log1p(squared / degrees)


def _student_inverse(raw: Tensor, levels: Tensor, _spread: Spread) -> Tensor:
    location, scale, degrees = (value[..., None] for value in student_parameters(raw))  # [..., horizon, 1]
    if levels.dim() == 1:
        return location + scale * _unit_quantiles(degrees, levels)
    unit = stdtrit(degrees.double().cpu().numpy(), levels.double().cpu().numpy())  # [..., horizon, level]
    return location + scale * torch.as_tensor(unit, dtype=raw.dtype, device=raw.device)


def _unit_quantiles(degrees: Tensor, levels: Tensor) -> Tensor:
    """Return the quantiles [..., level] of a Student t at a few levels, for each of many degrees of freedom [..., 1].

    By Clenshaw's recurrence, 15 times as fast as the inverse itself, and off by less than float32's rounding.
    """
    coefficients = torch.from_numpy(_chebyshev(tuple(levels.tolist()))).to(degrees)  # [power, level]
    at = 2 * MIN_DEGREES / degrees - 1  # [..., 1], within -1 and 1
    later, latest = torch.zeros_like(coefficients[0]), coefficients[-1]
    for coefficient in coefficients[1:-1].flip(0):
        later, latest = latest, coefficient + 2 * at * latest - later
    return coefficients[0] + at * latest - later


@cache
def _chebyshev(levels: tuple[float, ...]) -> Floats:
    """Return the Chebyshev coefficients [power, level] of quantiles of a Student t by MIN_DEGREES / degrees."""
    nodes = np.cos(np.pi * (np.arange(8 * POWERS) + 0.5) / (8 * POWERS))
    values = stdtrit(2 * MIN_DEGREES / (nodes[:, None] + 1), np.array(levels))
    fitted: Floats = chebfit(nodes, values, POWERS)
    return fitted


HALVINGS = 24  # of an interval some scales wide: closer than float32 tells apart
WIDEST = 9.0  # no level of interest lies further from a component than this many of its scales


def mixture_head(spec: MixtureHeadSpec) -> Head:
    """Return the head of three raw numbers per component; training begins with scales around one."""
    scales = torch.logspace(-0.4, 0.4, spec.components) - MIN_SCALE
    zero = torch.zeros(spec.components)
    start = torch.cat((zero, zero, torch.log(torch.expm1(scales))))
    return Head(3 * spec.components, start, _mixture_loss, _mixture_inverse)


def mixture_of(raw: Tensor) -> MixtureSameFamily:
    """Return the mixtures [...] of normal components [..., component] of raw numbers [..., 3 x component]."""
    logits, location, scale = raw.chunk(3, dim=-1)
    weights = Categorical(logits=logits, validate_args=False)
    components = Normal(location, nn.functional.softplus(scale) + MIN_SCALE, validate_args=False)
    return MixtureSameFamily(weights, components, validate_args=False)


def _mixture_loss(raw: Tensor, outcome: Tensor) -> Tensor:
    log_density: Tensor = mixture_of(raw).log_prob(outcome)  # type: ignore[no-untyped-call]
    return -log_density


def _mixture_inverse(raw: Tensor, levels: Tensor, _spread: Spread) -> Tensor:
    """Return quantiles by halving intervals: the distribution function of a mixture has no inverse in closed form."""
    mixture = mixture_of(raw[..., None, :])  # [..., horizon, 1]
    location, scale = mixture.component_distribution.mean, mixture.component_distribution.stddev
    wanted = levels.to(raw).expand(*raw.shape[:-1], -1)  # [..., horizon, level]
    low = (location - WIDEST * scale).amin(dim=-1).expand(wanted.shape)  # [..., horizon, level]
    high = (location + WIDEST * scale).amax(dim=-1).expand(wanted.shape)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        below: Tensor = mixture.cdf(middle) < wanted  # type: ignore[no-untyped-call]
        low, high = torch.where(below, middle, low), torch.where(below, high, middle)
    return (low + high) / 2
