"""The quantile head: the median is free, every other level is its neighbour plus or minus a softplus."""

import math

import torch
from scipy.special import stdtrit
from scipy.stats import t as student
from torch import Tensor, nn

from pipeline.forecasters.forecaster import LEVELS, MEDIAN
from pipeline.forecasters.recurrent.heads.head import Head, Spread
from pipeline.forecasters.recurrent.losses import pinball

START_DEGREES_OF_FREEDOM = 5.0


def quantile_head() -> Head:
    """Return the head whose raw numbers are steps between quantiles, so that these cannot cross."""
    return Head(len(LEVELS), start_as_student_t(), lambda raw, y: pinball(ordered(raw), y).mean(dim=-1), inverse)


def ordered(raw: Tensor) -> Tensor:
    """Return quantiles [..., level], increasing in the level by construction, from raw numbers of the same shape."""
    step = nn.functional.softplus(raw)  # [..., level]
    median = raw[..., MEDIAN : MEDIAN + 1]  # [..., 1]
    below = median - step[..., :MEDIAN].flip(-1).cumsum(-1).flip(-1)  # [..., MEDIAN]
    above = median + step[..., MEDIAN + 1 :].cumsum(-1)  # [..., level - MEDIAN - 1]
    return torch.cat((below, median, above), dim=-1)


def start_as_student_t() -> Tensor:
    """Return the raw numbers [level] whose quantiles are those of a unit-variance Student t."""
    scale = math.sqrt(1 - 2 / START_DEGREES_OF_FREEDOM)
    quantiles = torch.tensor(student.ppf(LEVELS, START_DEGREES_OF_FREEDOM) * scale, dtype=torch.float32)
    step = torch.empty_like(quantiles)
    step[:MEDIAN] = quantiles[1 : MEDIAN + 1] - quantiles[:MEDIAN]
    step[MEDIAN + 1 :] = quantiles[MEDIAN + 1 :] - quantiles[MEDIAN:-1]
    raw = torch.log(torch.expm1(step))  # the inverse of softplus
    raw[MEDIAN] = 0.0
    return raw


def inverse(raw: Tensor, levels: Tensor, _spread: Spread) -> Tensor:
    """Return quantiles at any levels: linear between those that are learned on the scale of a Student t's own.

    Beyond the outermost two the line through them goes on, so that the tails are those of that Student t.
    """
    known = ordered(raw)  # [..., horizon, learned]
    at = _score(torch.tensor(LEVELS, dtype=raw.dtype, device=raw.device))  # [learned]
    wanted = _score(levels.to(raw.dtype))  # [level] or [..., horizon, level]
    place = torch.searchsorted(at, wanted.contiguous(), right=True).clamp(1, len(LEVELS) - 1)
    left, right = _at(known, place - 1), _at(known, place)  # [..., horizon, level]
    share = (wanted - at[place - 1]) / (at[place] - at[place - 1])
    return left + share * (right - left)


def _at(known: Tensor, place: Tensor) -> Tensor:
    """Return what is known [..., horizon, learned] at places [level] or [..., horizon, level]."""
    return known[..., place] if place.dim() == 1 else known.gather(-1, place.expand(*known.shape[:-1], -1))


def _score(levels: Tensor) -> Tensor:
    value = stdtrit(START_DEGREES_OF_FREEDOM, levels.double().cpu().numpy())
    return torch.as_tensor(value, dtype=levels.dtype, device=levels.device)
