"""Each check passes for a sound network, and fails for one that learned nothing, has false skill, or reads ahead."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from pipeline.audit.result import AuditResult, Difference
from pipeline.errors import SanityError
from pipeline.sanity.checks import (
    FALSE_POSITIVE_RATE,
    SHARE_RANGE,
    SINE_RATIO_RANGE,
    OptimumComparison,
    SanityCheck,
    compare_with_optimum,
    has_skill,
    leak_in_scores_check,
    max_false_positives,
    median_informs,
    no_leak_check,
    no_signal_checks,
    planted_checks,
    planted_leaks_check,
    refuse_out_of_range,
    sanity_sentence,
    sanity_table,
    sine_check,
)
from pipeline.workflow.sine import MARK
from tests.sanity.forecasters import NOISE, UNIT, backtest_from, returns, spread

GOOD = SanityCheck("a", "seeds", 1, 0, 3)
BAD = SanityCheck("b", "share", 0.2, 0.75, 1.05, "Only this.")


@pytest.mark.parametrize(("found", "passed"), [(0.0, True), (3.0, True), (3.01, False), (-0.01, False)])
def test_a_number_is_in_range_with_both_ends(found: float, passed: bool) -> None:
    assert SanityCheck("a", "seeds", found, 0, 3).passed is passed


def test_no_number_is_out_of_range_and_stays_out_of_the_table() -> None:
    nan = SanityCheck("a", "share", float("nan"), 0, 1)
    assert not nan.passed
    assert sanity_table([nan])["found"].isna().all()


def test_what_is_out_of_range_is_named_and_what_is_not_is_not() -> None:
    refuse_out_of_range([GOOD])
    assert sanity_sentence([GOOD]) == "All 1 sanity checks are in range."
    with pytest.raises(SanityError) as error:
        refuse_out_of_range([GOOD, BAD])
    assert str(error.value).startswith("1 of 2 sanity checks are out of range. b: share 0.2 is OUT OF RANGE")
    assert "(0.75 to 1.05). Only this. Do not trust" in str(error.value)
    assert sanity_table([GOOD, BAD])["passed"].tolist() == [True, False]


def test_the_mark_of_the_sine_is_that_of_its_flow() -> None:
    assert SINE_RATIO_RANGE[1] == MARK


@pytest.mark.parametrize(("ratio", "passed"), [(1.03, True), (1.11, False), (0.9, False), (float("nan"), False)])
def test_a_sine_passes_neither_unlearned_nor_too_good(ratio: float, passed: bool) -> None:
    assert sine_check(OptimumComparison(0.4, 0.42, ratio)).passed is passed


@pytest.mark.parametrize("seeds", [5, 20, 200])
def test_chance_gives_more_false_positives_than_allowed_once_in_a_thousand(seeds: int) -> None:
    maximum = max_false_positives(seeds)
    assert binom.sf(maximum, seeds, FALSE_POSITIVE_RATE) <= 0.001 < binom.sf(maximum - 1, seeds, FALSE_POSITIVE_RATE)


def test_false_skill_and_false_direction_each_fail_their_own_check() -> None:
    few, many = [False] * 19 + [True], [True] * 5 + [False] * 15
    assert [check.passed for check in no_signal_checks("noise", few, few)] == [True, True]
    assert [check.passed for check in no_signal_checks("noise", many, few)] == [False, True]
    assert [check.passed for check in no_signal_checks("noise", few, many)] == [True, False]


def test_skill_is_detected_where_it_is_and_not_where_it_is_not() -> None:
    outcome = returns(1)
    half = spread(0.5 * outcome, NOISE * 0.6)
    noise = spread(0.3 * returns(2))
    assert has_skill(backtest_from(half, outcome))
    assert median_informs(backtest_from(half, outcome))
    assert not has_skill(backtest_from(noise, outcome))
    assert not median_informs(backtest_from(noise, outcome))


def test_a_forecast_that_is_wrong_on_purpose_is_significantly_worse_and_that_is_no_skill() -> None:
    outcome = returns(3)
    assert not has_skill(backtest_from(spread(-0.5 * outcome), outcome))
    assert not median_informs(backtest_from(spread(-0.5 * outcome), outcome))


def autoregression() -> tuple[np.ndarray, np.ndarray]:
    """Expectation and outcome [ticker, origin] of an AR(1) with coefficient 0.4."""
    shocks, outcome = returns(4, origins=2000), np.zeros((4, 2000))
    for t in range(1, 2000):
        outcome[:, t] = 0.4 * outcome[:, t - 1] + shocks[:, t]
    return 0.4 * outcome[:, :-1], outcome[:, 1:]


def result_of(network: np.ndarray, expectation: np.ndarray, outcome: np.ndarray) -> OptimumComparison:
    optimal = expectation[..., None] + NOISE * UNIT
    return compare_with_optimum(backtest_from(network, outcome), optimal)


def test_the_true_quantiles_reach_the_optimum_and_it_is_that_of_the_formula() -> None:
    expectation, outcome = autoregression()
    result = result_of(spread(expectation), expectation, outcome)
    assert result.share == pytest.approx(1.0, abs=1e-4)
    assert result.rmse_ratio == pytest.approx(1.0, abs=1e-4)
    assert result.optimum == pytest.approx(1 - np.sqrt(1 - 0.4**2), abs=0.01)


def test_half_the_signal_is_too_little_and_a_part_of_the_outcome_too_much() -> None:
    expectation, outcome = autoregression()
    found = {"skill": True, "direction": True}
    half = planted_checks("planted", result_of(spread(0.4 * expectation), expectation, outcome), found)
    assert half[1].found < SHARE_RANGE[0]
    whole = planted_checks("planted", result_of(spread(expectation), expectation, outcome), found)
    peeking = spread(expectation + 0.2 * (outcome - expectation))
    leak = planted_checks("planted", result_of(peeking, expectation, outcome), found)
    assert leak[1].found > SHARE_RANGE[1]
    assert [checks[1].passed for checks in (half, whole, leak)] == [False, True, False]
    assert whole[0].passed
    unseen = planted_checks("planted", result_of(spread(expectation), expectation, outcome), {**found, "skill": False})
    assert not unseen[0].passed


def test_rows_that_were_not_scored_do_not_count() -> None:
    expectation, outcome = autoregression()
    network = spread(expectation)
    network[:, 100:] += np.float32(1.0)
    outcome = np.where(np.arange(outcome.shape[1]) < 100, outcome, np.nan)
    climatology = spread(np.zeros_like(outcome))
    backtest = replace(
        backtest_from(network, np.nan_to_num(outcome)),
        realised=outcome[..., None].astype(np.float32),
        quantiles={"network": network, "climatology": climatology},
    )
    assert compare_with_optimum(backtest, expectation[..., None] + NOISE * UNIT).share == pytest.approx(1.0, abs=1e-3)


def audit_result(*stages: str) -> AuditResult:
    differences = tuple(
        Difference(stage, "open", "T0", "2020-01-02", "2020-01-01", "garbage", "1", "2") for stage in stages
    )
    return AuditResult(
        calendar="XNYS",
        origins=(),
        forecasters=("network",),
        training_steps=8,
        counts=dict.fromkeys(("validation", "scale"), 10),
        differences=differences,
        seconds=0.1,
    )


def test_the_pipeline_must_pass_the_audit() -> None:
    assert no_leak_check(audit_result()).passed
    assert not no_leak_check(audit_result("scale")).passed


def test_a_leak_must_be_detected_at_its_own_stage() -> None:
    assert planted_leaks_check({"validation": audit_result("validation"), "scale": audit_result("scale")}).passed
    missed = planted_leaks_check({"validation": audit_result("validation"), "scale": audit_result()})
    elsewhere = planted_leaks_check(
        {"validation": audit_result("validation"), "scale": audit_result("validation", "scale")}
    )
    assert not missed.passed
    assert not elsewhere.passed
    assert missed.remark == "validation: yes, scale: NO."


def test_a_network_that_reads_the_outcome_must_show_skill() -> None:
    assert leak_in_scores_check([True, True, True]).passed
    assert not leak_in_scores_check([True, False, True]).passed
