"""Losses against plain loops."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasters.recurrent.losses import masked_mean, pinball


def slow_pinball(q: float, y: float, level: float) -> float:
    return level * (y - q) if y > q else (1 - level) * (q - y)


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.lists(st.floats(-5, 5), min_size=7, max_size=7), st.floats(-5, 5))
def test_pinball(quantiles: list[float], outcome: float) -> None:
    found = pinball(torch.tensor([quantiles], dtype=torch.float64), torch.tensor([outcome], dtype=torch.float64))
    assert found.shape == (1, len(LEVELS))
    expected = [slow_pinball(q, outcome, level) for q, level in zip(quantiles, LEVELS, strict=True)]
    assert found[0].tolist() == pytest.approx(expected, abs=1e-12)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.integers(0, 2**31), st.floats(0.0, 1.0))
def test_the_masked_mean_counts_known_places_only(seed: int, share: float) -> None:
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(3, 4, 2, generator=generator, dtype=torch.float64)
    known = torch.rand(3, 4, 2, generator=generator) < share
    weight = torch.rand(3, 4, 1, generator=generator, dtype=torch.float64) + 0.1
    places = [(i, j, h) for i in range(3) for j in range(4) for h in range(2) if known[i, j, h]]
    plain = sum(values[at].item() for at in places) / len(places) if places else 0.0
    total = sum(weight[i, j, 0].item() for i, j, _ in places)
    weighted = sum(values[i, j, h].item() * weight[i, j, 0].item() for i, j, h in places) / total if places else 0.0
    for other in (0.0, 1e9, torch.nan):  # a place without a forecast is NaN, and is no more counted than any
        spoilt = torch.where(known, values, torch.tensor(other, dtype=torch.float64))
        assert masked_mean(spoilt, known).item() == pytest.approx(plain, abs=1e-12)
        assert masked_mean(spoilt, known, weight).item() == pytest.approx(weighted, abs=1e-12)
