"""The rules: weights by hand, within their limits, and against a slow twin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.evaluation.money.positions import (
    DECISIONS,
    long_only,
    long_short,
    median_of,
    proportional_weights,
    volatility_target,
    yearly_volatility,
)
from pipeline.evaluation.specification import MoneySpec
from tests.evaluation.money.small_markets import NAN, normal_quantiles


def spec(**given: object) -> MoneySpec:
    return MoneySpec(**{"max_weight": 1.0, "entry_bps": 0.0, **given})


def row(*values: float) -> np.ndarray:
    return np.array([values])


def test_volatility_is_read_off_the_band() -> None:
    quantiles = normal_quantiles([[0.01, -0.02]], 0.32)[:, :, 0]
    assert yearly_volatility(quantiles, 1) == pytest.approx(np.full((1, 2), 0.32), rel=1e-5)
    assert yearly_volatility(quantiles, 4) == pytest.approx(np.full((1, 2), 0.16), rel=1e-5)  # the same over 4 sessions


def test_a_forecast_without_all_levels_is_none() -> None:
    quantiles = normal_quantiles([[0.01, 0.02]])[:, :, 0].copy()
    quantiles[0, 1, 6] = NAN
    assert median_of(quantiles) == pytest.approx(row(0.01, NAN), nan_ok=True)


def test_what_a_capped_ticker_leaves_goes_to_the_others() -> None:
    # in proportion to 4 2 1 1 the sum 1 is 0.5 0.25 0.125 0.125; 0.5 is cut to 0.3, then 0.7 in proportion to 2 1 1
    # is 0.35 0.175 0.175; 0.35 is cut to 0.3, and 0.4 is left for two
    assert proportional_weights(row(4.0, 2.0, 1.0, 1.0), 1.0, 0.3) == pytest.approx(row(0.3, 0.3, 0.2, 0.2))
    assert proportional_weights(row(4.0, 2.0, 1.0, 1.0), 1.0, 1.0) == pytest.approx(row(0.5, 0.25, 0.125, 0.125))
    # all capped: 4 x 0.2 is less than the account
    assert proportional_weights(row(4.0, 2.0, 1.0, 1.0), 1.0, 0.2) == pytest.approx(row(0.2, 0.2, 0.2, 0.2))
    assert proportional_weights(row(0.0, 0.0), 1.0, 0.2) == pytest.approx(row(0.0, 0.0))
    assert proportional_weights(row(0.0, 3.0), 1.0, 0.2) == pytest.approx(row(0.0, 0.2))


def slow_proportional_weights(strength: np.ndarray, gross: float, most: float) -> np.ndarray:
    """Cut the tickers above the limit one after the other, strongest first."""
    weights, left, free = np.zeros(len(strength)), gross, {i for i, s in enumerate(strength) if s > 0}
    while free:
        scale = left / sum(strength[i] for i in free)
        strongest = max(free, key=lambda i: strength[i])
        if strength[strongest] * scale <= most:
            for i in free:
                weights[i] = strength[i] * scale
            return weights
        weights[strongest] = min(most, left)
        left -= weights[strongest]
        free.remove(strongest)
    return weights


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    arrays(np.float64, (3, 6), elements=st.sampled_from([0.0, 0.0, 0.01, 0.1, 0.5, 1.0, 2.0, 30.0])),
    st.sampled_from([0.5, 1.0, 2.0]),
    st.sampled_from([0.05, 0.15, 0.2, 0.4, 1.0, 3.0]),
)
def test_sharing_equals_a_slow_twin(strength: np.ndarray, gross: float, most: float) -> None:
    fast = proportional_weights(strength, gross, most)
    for k in range(len(strength)):
        assert fast[k] == pytest.approx(slow_proportional_weights(strength[k], gross, most), abs=1e-12)


def test_long_only_holds_positive_medians_in_proportion_to_median_over_volatility() -> None:
    # strengths 0.002 / 0.2 = 0.01, none, 0.006 / 0.2 = 0.03, none (silent)
    weights = long_only(row(0.002, -0.004, 0.006, NAN), row(0.2, 0.2, 0.2, NAN), spec())
    assert weights == pytest.approx(row(0.25, 0.0, 0.75, 0.0))
    # twice the volatility is half the strength: 0.005 and 0.03
    assert long_only(row(0.002, 0.006), row(0.4, 0.2), spec()) == pytest.approx(row(1 / 7, 6 / 7))


def test_long_short_is_worth_the_same_on_both_sides() -> None:
    # longs 2 : 1 of one half, the only short one half
    weights = long_short(row(0.002, 0.001, -0.005), row(0.2, 0.2, 0.2), spec())
    assert weights == pytest.approx(row(1 / 3, 1 / 6, -0.5))
    # no more than 0.2 each: longs 0.2 + 0.2, short 0.2; the longs are cut to 0.2 together
    weights = long_short(row(0.002, 0.001, -0.005), row(0.2, 0.2, 0.2), spec(max_weight=0.2))
    assert weights == pytest.approx(row(0.1, 0.1, -0.2))


def test_a_side_alone_stands_at_half_of_the_gross_exposure() -> None:
    assert long_short(row(0.002, 0.001), row(0.2, 0.2), spec()) == pytest.approx(row(1 / 3, 1 / 6))
    assert long_short(row(-0.003), row(0.2), spec()) == pytest.approx(row(-0.5))


def test_volatility_target_gives_each_position_its_part_of_the_target() -> None:
    # two positions: 0.12 / 0.3 / 2 = 0.2 long and 0.12 / 0.6 / 2 = 0.1 short; the third has no opinion
    weights = volatility_target(row(0.001, -0.009, 0.0), row(0.3, 0.6, 0.2), spec(target_volatility=0.12))
    assert weights == pytest.approx(row(0.2, -0.1, 0.0))


def test_volatility_target_is_cut_at_its_limits() -> None:
    # wanted 0.6 / 0.3 / 2 = 1.0 and 0.6 / 0.6 / 2 = 0.5; cut to 0.8 and 0.5, then to a sum of 1: x 1 / 1.3
    limited = spec(target_volatility=0.6, max_weight=0.8)
    weights = volatility_target(row(0.001, -0.001), row(0.3, 0.6), limited)
    assert weights == pytest.approx(row(0.8 / 1.3, -0.5 / 1.3))
    # a larger gross exposure leaves them
    weights = volatility_target(row(0.001, -0.001), row(0.3, 0.6), limited.model_copy(update={"max_gross": 2.0}))
    assert weights == pytest.approx(row(0.8, -0.5))


@pytest.mark.parametrize("rule", DECISIONS)
def test_no_opinion_is_no_position(rule: str) -> None:
    medians, volatility = row(0.0, NAN, 0.01, 0.01, 0.01), row(0.2, 0.2, 0.0, NAN, -0.1)
    assert (DECISIONS[rule](medians, volatility, spec()) == 0).all()


@pytest.mark.parametrize("rule", DECISIONS)
def test_a_median_must_exceed_the_entry_threshold(rule: str) -> None:
    weights = DECISIONS[rule](row(0.0010, 0.0011, -0.0009), row(0.2, 0.2, 0.2), spec(entry_bps=10.0))
    assert (weights != 0).tolist() == [[False, True, False]]


@pytest.mark.parametrize("rule", DECISIONS)
def test_by_default_a_median_must_exceed_the_cost_of_a_round_trip(rule: str) -> None:
    # 1 + 2 + 2 bps to enter and as much to leave; -9 and 9.9 bps do not pay for them, 10.1 bps do
    weights = DECISIONS[rule](row(0.00099, 0.00101, -0.0009), row(0.2, 0.2, 0.2), spec(entry_bps=None))
    assert (weights != 0).tolist() == [[False, True, False]]
    free = spec(entry_bps=None, commission_bps=0, half_spread_bps=0, slippage_bps=0)
    every = DECISIONS[rule](row(0.00099, 0.00101, -0.0009), row(0.2, 0.2, 0.2), free)
    assert (every != 0).tolist() == [[True, True, rule != "long_only"]]


MEDIANS = arrays(np.float64, (4, 5), elements=st.sampled_from([NAN, 0.0, -0.02, -0.001, 0.0005, 0.001, 0.03]))
VOLATILITIES = arrays(np.float64, (4, 5), elements=st.sampled_from([0.0, 0.05, 0.2, 0.9]))


@settings(derandomize=True, deadline=None, max_examples=80)
@given(MEDIANS, VOLATILITIES, st.sampled_from([0.1, 0.3, 1.0]), st.sampled_from([0.5, 1.0, 1.5]))
@pytest.mark.parametrize("rule", DECISIONS)
def test_limits_hold_and_signs_follow_the_median(
    rule: str, median: np.ndarray, volatility: np.ndarray, most: float, gross: float
) -> None:
    limits = spec(max_weight=most, max_gross=gross)
    weights = DECISIONS[rule](median, volatility, limits)
    assert np.isfinite(weights).all()
    assert (np.abs(weights) <= most * (1 + 1e-12)).all()
    assert (np.abs(weights).sum(axis=1) <= gross * (1 + 1e-12)).all()
    held = weights != 0
    assert (np.sign(weights[held]) == np.sign(median[held])).all()
    assert rule != "long_only" or (weights >= 0).all()
    both = (weights > 0).any(axis=1) & (weights < 0).any(axis=1)
    assert rule != "long_short" or weights[both].sum(axis=1) == pytest.approx(0.0, abs=1e-12)


@pytest.mark.parametrize("rule", DECISIONS)
def test_a_session_decides_by_itself_alone(rule: str) -> None:
    draws = np.random.default_rng(0)
    median, volatility = draws.normal(0, 0.01, (6, 5)), draws.uniform(0.1, 0.5, (6, 5))
    weights = DECISIONS[rule](median, volatility, spec())
    median[3:], volatility[3:] = draws.normal(0, 9, (3, 5)), 3.0
    changed = DECISIONS[rule](median, volatility, spec())
    assert np.array_equal(changed[:3], weights[:3])
    assert not np.allclose(changed[3:], weights[3:])
