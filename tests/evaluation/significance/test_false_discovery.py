"""Benjamini and Hochberg's adjustment: against scipy, with what has no p-value left out."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import false_discovery_control

from pipeline.evaluation.significance.false_discovery import benjamini_hochberg


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=40))
def test_it_is_the_reference_over_what_has_a_p(listed: list[float | None]) -> None:
    p = np.array([np.nan if value is None else value for value in listed])
    found, known = benjamini_hochberg(p), np.isfinite(p)
    assert np.isnan(found[~known]).all()
    if known.any():
        assert found[known].tolist() == pytest.approx(false_discovery_control(p[known], method="bh").tolist(), rel=1e-8)


def test_a_published_example() -> None:
    """Benjamini and Hochberg (1995), section 4.1: of 15 p-values, four are discoveries at 5 %."""
    p = [0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528]
    adjusted = benjamini_hochberg(np.array([*p, 0.7590, 1.0]))
    assert (adjusted <= 0.05).sum() == 4
    assert adjusted[3] == pytest.approx(0.0095 * 15 / 4)


def test_false_discoveries_stay_below_the_level() -> None:
    draws = np.random.default_rng(0)
    shares = []
    for _ in range(500):
        p = draws.uniform(size=100)
        p[:20] *= 1e-3  # true ones
        found = benjamini_hochberg(p) <= 0.1
        shares.append(found[20:].sum() / max(found.sum(), 1))
    assert 0.06 < np.mean(shares) <= 0.1 * 0.8 + 0.01
