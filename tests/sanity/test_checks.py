"""Each check passes for what is sound, and fails for a network that learned nothing, has false skill, or peeks."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binom

from pipeline.audit.comparing import Difference
from pipeline.audit.verdict import Verdict
from pipeline.errors import SanityError
from pipeline.sanity.check import Check, refuse_out_of_range, table, verdict_sentence
from pipeline.sanity.checks import (
    LEVEL,
    SHARE,
    SINE_RATIO,
    caught_check,
    has_skill,
    honest_check,
    impossible_check,
    median_informs,
    most_by_luck,
    nothing_checks,
    planted_checks,
    sine_check,
)
from pipeline.sanity.optimum import Reached, reached
from pipeline.workflow.sine import MARK
from tests.sanity.forecasters import NOISE, UNIT, made, returns, spread

GOOD = Check("a", "seeds", 1, 0, 3)
BAD = Check("b", "share", 0.2, 0.75, 1.05, "Only this.")


@pytest.mark.parametrize(("found", "passed"), [(0.0, True), (3.0, True), (3.01, False), (-0.01, False)])
def test_a_number_is_in_range_with_both_ends(found: float, passed: bool) -> None:
    assert Check("a", "seeds", found, 0, 3).passed is passed


def test_no_number_is_out_of_range_and_stays_out_of_the_table() -> None:
    nan = Check("a", "share", float("nan"), 0, 1)
    assert not nan.passed
    assert table([nan])["found"].isna().all()


def test_what_is_out_of_range_is_named_and_what_is_not_is_not() -> None:
    refuse_out_of_range([GOOD])
    assert verdict_sentence([GOOD]) == "All 1 sanity checks are in range."
    with pytest.raises(SanityError) as told:
        refuse_out_of_range([GOOD, BAD])
    assert str(told.value).startswith("1 of 2 sanity checks are out of range. b: share 0.2 is OUT OF RANGE")
    assert "(0.75 to 1.05). Only this. Do not trust" in str(told.value)
    assert table([GOOD, BAD])["passed"].tolist() == [True, False]


def test_the_mark_of_the_sine_is_that_of_its_flow() -> None:
    assert SINE_RATIO[1] == MARK


@pytest.mark.parametrize(("ratio", "passed"), [(1.03, True), (1.11, False), (0.9, False), (float("nan"), False)])
def test_a_sine_passes_neither_unlearned_nor_too_good(ratio: float, passed: bool) -> None:
    assert sine_check(Reached(0.4, 0.42, ratio)).passed is passed


@pytest.mark.parametrize("seeds", [5, 20, 200])
def test_luck_gives_more_false_positives_than_allowed_once_in_a_thousand(seeds: int) -> None:
    most = most_by_luck(seeds)
    assert binom.sf(most, seeds, LEVEL) <= 0.001 < binom.sf(most - 1, seeds, LEVEL)


def test_false_skill_and_false_direction_are_each_told_by_their_own_check() -> None:
    quiet, loud = [False] * 19 + [True], [True] * 5 + [False] * 15
    assert [one.passed for one in nothing_checks("noise", quiet, quiet)] == [True, True]
    assert [one.passed for one in nothing_checks("noise", loud, quiet)] == [False, True]
    assert [one.passed for one in nothing_checks("noise", quiet, loud)] == [True, False]


def test_skill_is_seen_where_it_is_and_not_where_it_is_not() -> None:
    outcome = returns(1)
    half = spread(0.5 * outcome, NOISE * 0.6)
    noise = spread(0.3 * returns(2))
    assert has_skill(made(half, outcome))
    assert median_informs(made(half, outcome))
    assert not has_skill(made(noise, outcome))
    assert not median_informs(made(noise, outcome))


def test_a_forecast_that_is_wrong_on_purpose_is_significantly_worse_and_that_is_no_skill() -> None:
    outcome = returns(3)
    assert not has_skill(made(spread(-0.5 * outcome), outcome))
    assert not median_informs(made(spread(-0.5 * outcome), outcome))


def autoregression() -> tuple[np.ndarray, np.ndarray]:
    """Expectation and outcome [ticker, origin] of an AR(1) with coefficient 0.4."""
    shocks, outcome = returns(4, origins=2000), np.zeros((4, 2000))
    for t in range(1, 2000):
        outcome[:, t] = 0.4 * outcome[:, t - 1] + shocks[:, t]
    return 0.4 * outcome[:, :-1], outcome[:, 1:]


def result_of(network: np.ndarray, expectation: np.ndarray, outcome: np.ndarray) -> Reached:
    best = expectation[..., None] + NOISE * UNIT
    return reached(made(network, outcome), best)


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
    assert half[1].found < SHARE[0]
    whole = planted_checks("planted", result_of(spread(expectation), expectation, outcome), found)
    peeking = spread(expectation + 0.2 * (outcome - expectation))
    leak = planted_checks("planted", result_of(peeking, expectation, outcome), found)
    assert leak[1].found > SHARE[1]
    assert [one[1].passed for one in (half, whole, leak)] == [False, True, False]
    assert whole[0].passed
    unseen = planted_checks("planted", result_of(spread(expectation), expectation, outcome), {**found, "skill": False})
    assert not unseen[0].passed


def test_rows_that_were_not_scored_do_not_count() -> None:
    expectation, outcome = autoregression()
    network = spread(expectation)
    network[:, 100:] += np.float32(1.0)
    outcome = np.where(np.arange(outcome.shape[1]) < 100, outcome, np.nan)
    usual = spread(np.zeros_like(outcome))
    backtest = replace(
        made(network, np.nan_to_num(outcome)),
        realised=outcome[..., None].astype(np.float32),
        quantiles={"network": network, "climatology": usual},
    )
    assert reached(backtest, expectation[..., None] + NOISE * UNIT).share == pytest.approx(1.0, abs=1e-3)


def verdict_at(*stages: str) -> Verdict:
    differences = tuple(
        Difference(stage, "open", "T0", "2020-01-02", "2020-01-01", "garbage", "1", "2") for stage in stages
    )
    return Verdict(
        calendar="XNYS",
        origins=(),
        forecasters=("network",),
        training_steps=8,
        counts=dict.fromkeys(("door", "scale"), 10),
        differences=differences,
        seconds=0.1,
    )


def test_an_honest_pipeline_must_pass_the_audit() -> None:
    assert honest_check(verdict_at()).passed
    assert not honest_check(verdict_at("scale")).passed


def test_a_leak_must_be_caught_and_at_its_own_stage() -> None:
    assert caught_check({"door": verdict_at("door"), "scale": verdict_at("scale")}).passed
    missed = caught_check({"door": verdict_at("door"), "scale": verdict_at()})
    elsewhere = caught_check({"door": verdict_at("door"), "scale": verdict_at("door", "scale")})
    assert not missed.passed
    assert not elsewhere.passed
    assert missed.remark == "door: yes, scale: NO."


def test_a_network_that_reads_the_outcome_must_show() -> None:
    assert impossible_check([True, True, True]).passed
    assert not impossible_check([True, False, True]).passed
