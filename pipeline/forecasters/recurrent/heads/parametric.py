"""Heads with a density: Student t and a mixture of normals, fitted by maximum likelihood."""

import math

import torch
from scipy.special import stdtrit
from torch import Tensor, nn
from torch.distributions import Categorical, MixtureSameFamily, Normal, StudentT

from pipeline.forecasters.recurrent.heads.head import Head, Spread
from pipeline.forecasters.recurrent.specification import MixtureHeadSpec

MIN_DEGREES = 2.1
START_DEGREES = 5.0
MIN_SCALE = 1e-3


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
    location, scale, degrees = student_parameters(raw)
    # Validation of arguments reads every one of them back at each step.
    distribution = StudentT(degrees, location, scale, validate_args=False)
    log_density: Tensor = distribution.log_prob(outcome)  # type: ignore[no-untyped-call]
    return -log_density


def _student_inverse(raw: Tensor, levels: Tensor, _spread: Spread) -> Tensor:
    location, scale, degrees = (value[..., None] for value in student_parameters(raw))  # [..., horizon, 1]
    unit = stdtrit(degrees.double().cpu().numpy(), levels.double().cpu().numpy())  # [..., horizon, level]
    return location + scale * torch.as_tensor(unit, dtype=raw.dtype, device=raw.device)


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
