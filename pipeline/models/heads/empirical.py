"""Quantile functions of outcomes, kept on a grid of levels."""

import torch
from torch import Tensor

GRID = torch.linspace(0.0, 1.0, 201)
"""The levels at which a quantile function is kept; between them it is linear."""


def quantile_function(outcomes: Tensor, without: float = 0.0) -> Tensor:
    """Return the quantiles [grid] of outcomes [row]; all of them `without` where there is none."""
    if not len(outcomes):
        return torch.full((len(GRID),), without)
    return torch.quantile(outcomes.double(), GRID.double()).float()


def at_levels(functions: Tensor, levels: Tensor) -> Tensor:
    """Return quantile functions [horizon, grid] at levels [..., horizon, level], linear between grid points."""
    place = levels.clamp(0.0, 1.0) * (len(GRID) - 1)  # [..., horizon, level]
    # A place without a forecast is NaN: it looks anywhere, and stays NaN below.
    below = place.floor().clamp_max(len(GRID) - 2).nan_to_num().long()
    horizon = torch.arange(functions.shape[0], device=levels.device)[:, None].expand(levels.shape)
    left, right = functions[horizon, below], functions[horizon, below + 1]  # [..., horizon, level]
    return left + (place - below) * (right - left)
