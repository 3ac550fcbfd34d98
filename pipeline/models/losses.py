"""Losses of quantile forecasts."""

import torch

from pipeline.models.specification import LEVELS


def pinball(quantiles: torch.Tensor, outcome: torch.Tensor) -> torch.Tensor:
    """Return the pinball loss [..., level] of quantiles [..., level] against outcomes [...].

    Koenker and Bassett (1978), eq. 2.1: (y - q) tau where y > q, else (q - y) (1 - tau).
    """
    levels = torch.tensor(LEVELS, dtype=quantiles.dtype, device=quantiles.device)  # [level]
    error = outcome[..., None] - quantiles  # [..., level]
    return torch.maximum(levels * error, (levels - 1) * error)


def masked_mean(values: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """Return the mean of values [..., level] over the places where `known` [...] is True."""
    # Chosen, not multiplied by zero: a place without a forecast is NaN, and NaN times zero is NaN.
    counted = torch.where(known, values.mean(dim=-1), torch.zeros((), dtype=values.dtype, device=values.device))
    return counted.sum() / known.sum().clamp_min(1)
