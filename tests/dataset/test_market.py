"""The market's members and their mean, by plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.dataset.market import RETURN_LIMIT, clipped, market_mean, members_of, session_mean
from tests.panels import panel_of, random_market

SHAPE = (4, 6)
VALUES = st.floats(-1e6, 1e6) | st.sampled_from([math.nan, math.inf, -math.inf])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(arrays(np.float64, SHAPE, elements=VALUES), arrays(np.bool_, SHAPE))
def test_means_are_over_the_members_that_have_a_value(values: np.ndarray, members: np.ndarray) -> None:
    found, everywhere = session_mean(values, members), market_mean(values, members)
    for session in range(SHAPE[1]):
        told = [
            values[k, session] for k in range(SHAPE[0]) if members[k, session] and math.isfinite(values[k, session])
        ]
        expected = sum(told) / len(told) if told else math.nan
        assert found[session] == pytest.approx(expected, rel=1e-9, abs=1e-9, nan_ok=True)
        for k in range(SHAPE[0]):
            there = found[session] if math.isfinite(values[k, session]) else math.nan
            np.testing.assert_equal(everywhere[k, session], there)


@pytest.mark.parametrize("minimum", [1, 5, 31, 61])
def test_a_member_is_named_has_enough_own_sessions_and_belongs(minimum: int) -> None:
    panel = panel_of(random_market(60, 4))
    belongs = np.random.default_rng(1).uniform(size=panel.present.shape) < 0.7
    always = members_of(panel, ("T0", "T1", "T3", "STRANGER"), minimum, None)
    found = members_of(panel, ("T0", "T1", "T3", "STRANGER"), minimum, belongs)
    for k, ticker in enumerate(panel.tickers):
        own = 0
        for session in range(len(panel.sessions)):
            own += bool(panel.present[k, session])
            expected = ticker in ("T0", "T1", "T3") and own >= minimum
            assert always[k, session] == expected
            assert found[k, session] == (expected and belongs[k, session])


def test_returns_are_clipped_on_both_sides() -> None:
    returns = np.array([-2.0, -0.1, 0.0, 0.2, 5.0])
    np.testing.assert_array_equal(clipped(returns), [-RETURN_LIMIT, -0.1, 0.0, 0.2, RETURN_LIMIT])
