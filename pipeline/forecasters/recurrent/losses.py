"""Losses of quantile forecasts, and means over what is known."""

import torch
from torch import Tensor

from pipeline.forecasters.forecaster import LEVELS


def pinball(quantiles: Tensor, outcome: Tensor) -> Tensor:
    """Return the pinball loss [..., level] of quantiles [..., level] against outcomes [...].

    Koenker and Bassett (1978), eq. 2.1: (y - q) tau where y > q, else (q - y) (1 - tau).
    """
    levels = torch.tensor(LEVELS, dtype=quantiles.dtype, device=quantiles.device)  # [level]
    error = outcome[..., None] - quantiles  # [..., level]
    return torch.maximum(levels * error, (levels - 1) * error)


def masked_mean(values: Tensor, known: Tensor, weight: Tensor | None = None) -> Tensor:
    """Return the mean of values [...] over the places where `known` [...] is True, weighted where weights are given."""
    # Chosen, not multiplied by zero: a place without a forecast is NaN, and NaN times zero is NaN.
    zero = torch.zeros((), dtype=values.dtype, device=values.device)
    if weight is None:
        return torch.where(known, values, zero).sum() / known.sum().clamp_min(1)
    counted = torch.where(known, weight.expand_as(values), zero)
    return (torch.where(known, values, zero) * counted).sum() / counted.sum().clamp_min(1e-12)
