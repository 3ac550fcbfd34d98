"""The suite on the pipeline and on broken pipelines: each check is shown to fail once."""

import numpy as np
import pandas as pd
import pytest

from pipeline.audit.steps import Steps
from pipeline.errors import UsageError
from pipeline.forecasters.forecaster import LEVELS, MEDIAN
from pipeline.market.in_memory import InMemoryPrices, open_sample
from pipeline.market.specification import SyntheticSource
from pipeline.market.synthetic import known_returns, open_synthetic
from pipeline.market.validation.validate import load_bars
from pipeline.sanity.cases import LONG_SAMPLE_TICKERS, NOW, random_walk_case, shuffled_case, shuffled_returns
from pipeline.sanity.checks import SanityCheck, optimal_quantiles
from pipeline.sanity.suite import (
    LEAKING_STEPS,
    SuitePart,
    check_leaks,
    check_no_signal,
    check_planted_return,
    check_planted_volatility,
    scaled_on_everything,
    suite,
)
from tests.sanity.forecasters import NOTHING_LEARNED

REAL = Steps()


def passed_by_name(checks: tuple[SanityCheck, ...]) -> dict[str, bool]:
    return {check.name: check.passed for check in checks}


def part(name: str, steps: Steps = REAL, seed: int = 0) -> SuitePart:
    return suite(seed, 5, steps)[name]


def test_too_few_seeds_are_refused() -> None:
    with pytest.raises(UsageError, match="found 4 seeds, expected 5 or more"):
        suite(seeds=4)


# --- Checks that the pipeline has to pass, and broken ones have to fail ---


@pytest.mark.slow
def test_the_sine_is_learned_and_without_learning_it_is_not() -> None:
    assert passed_by_name(part("sine")()) == {"sine": True}
    (failed,) = part("sine", NOTHING_LEARNED)()
    assert failed.found > 1.5


def test_the_sine_is_too_good_where_the_outcome_is_read() -> None:
    (failed,) = part("sine", LEAKING_STEPS)()
    assert failed.found < failed.low


def test_a_planted_return_is_found_up_to_the_optimum_and_no_further() -> None:
    found, share = check_planted_return(0, REAL)
    assert (found.passed, share.passed) == (True, True)
    unlearned, too_little = check_planted_return(0, NOTHING_LEARNED)
    assert (unlearned.passed, too_little.passed) == (False, False)
    assert too_little.found < 0.1
    _, too_much = check_planted_return(0, LEAKING_STEPS)
    assert too_much.found > too_much.high


def test_a_planted_volatility_is_found_up_to_the_optimum_and_no_further() -> None:
    found, share = check_planted_volatility(0, REAL)
    assert (found.passed, share.passed) == (True, True)
    _, too_little = check_planted_volatility(
        0, NOTHING_LEARNED
    )  # its bands are as wide as the last returns were, no more
    assert 0.2 < too_little.found < too_little.low
    _, too_much = check_planted_volatility(0, LEAKING_STEPS)
    assert too_much.found > too_much.high


@pytest.mark.slow
def test_a_signal_is_found_in_noise_only_by_a_leak() -> None:
    for name, case in (("random walk", random_walk_case), ("shuffled returns", shuffled_case)):
        cases = [case(seed) for seed in range(3)]
        assert all(check.passed for check in check_no_signal(name, cases, REAL))
        leaking = check_no_signal(name, cases, LEAKING_STEPS)
        assert [check.found for check in leaking] == [3, 3]
        assert not any(check.passed for check in leaking)


@pytest.mark.slow
def test_leaks_are_detected_and_the_pipeline_has_none() -> None:
    assert passed_by_name(check_leaks(0, REAL)) == {
        "no leak": True,
        "planted leaks": True,
        "leak, seen in scores": True,
    }


@pytest.mark.slow
def test_a_pipeline_with_a_leak_fails_the_check_of_no_leak() -> None:
    passed = passed_by_name(check_leaks(0, Steps(fit=scaled_on_everything)))
    assert (passed["no leak"], passed["planted leaks"]) == (False, True)


# --- The cases ---


@pytest.mark.parametrize("process", ["sine", "planted", "planted_garch"])
def test_the_optimal_quantiles_are_those_of_the_session_after_the_origin(process: str) -> None:
    source = SyntheticSource.model_validate({"process": process, "sessions": 60, "tickers": 2, "seed": 3})
    sessions = open_synthetic(source).rows("SYN001")["session"].to_numpy().astype("datetime64[D]")
    optimal = optimal_quantiles(source, sessions, sessions[[10, 20, 59]])
    for k in range(2):
        known = known_returns(source, k)
        for row, session in enumerate((11, 21)):
            assert optimal[k, row, MEDIAN] == pytest.approx(known.expectation[session])
            draws = np.random.default_rng(0).normal(known.expectation[session], known.volatility[session], 200_000)
            np.testing.assert_allclose(optimal[k, row], np.quantile(draws, LEVELS), atol=2e-4)
    assert np.isnan(optimal[:, 2]).all()


def test_the_planted_garch_follows_its_recursion_from_past_returns_alone() -> None:
    source = SyntheticSource(process="planted_garch", sessions=3000, noise=0.02, strength=0.1)
    known = known_returns(source, 0)
    variance = 0.02**2
    for t in range(200):
        assert known.volatility[t] ** 2 == pytest.approx(variance)
        variance = 0.05 * 0.02**2 + 0.1 * known.returns[t] ** 2 + 0.85 * variance
    assert (known.returns / known.volatility).std() == pytest.approx(1.0, rel=0.05)
    assert known.returns.std() == pytest.approx(0.02, rel=0.1)
    with pytest.raises(ValueError, match=r"planted_garch needs one from 0 to 0\.95"):
        SyntheticSource(process="planted_garch", strength=0.96)


def rows_of(prices: InMemoryPrices, ticker: str) -> pd.DataFrame:
    return prices.rows(ticker).sort_values("session").reset_index(drop=True)


def test_shuffled_returns_are_the_same_days_in_another_order() -> None:
    sample, mixed = open_sample(), shuffled_returns(open_sample(), LONG_SAMPLE_TICKERS, 1)
    order = None
    for ticker in LONG_SAMPLE_TICKERS:
        before, after = rows_of(sample, ticker), rows_of(mixed, ticker)
        before = before[before["session"].isin(set(rows_of(sample, "GOOG")["session"]))]
        real = np.diff(np.log(before["adj_close"]))
        real = real - real.mean()
        shuffled = np.diff(np.log(after["close"]), prepend=np.log(100.0))
        np.testing.assert_allclose(np.sort(shuffled), np.sort(real), atol=1e-12)
        assert (
            abs(np.corrcoef(np.abs(shuffled[1:]), np.abs(shuffled[:-1]))[0, 1]) < 0.06
        )  # volatility no longer persists
        assert np.corrcoef(np.abs(real[1:]), np.abs(real[:-1]))[0, 1] > 0.15
        places = np.argsort(shuffled)[np.argsort(np.argsort(real))]  # where each real day went
        assert order is None or (places == order).mean() > 0.95  # ties aside
        order = places
        assert (after["volume"].to_numpy()[places] == before["volume"].to_numpy()[1:]).mean() > 0.95
        shape = (before["high"] / before["close"]).to_numpy()[1:]
        np.testing.assert_allclose(np.sort(after["high"] / after["close"]), np.sort(shape), rtol=1e-12)


def test_shuffled_returns_pass_validation_and_depend_on_the_seed_alone() -> None:
    first, again, other = (shuffled_returns(open_sample(), LONG_SAMPLE_TICKERS, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first.rows("IBM"), again.rows("IBM"))
    assert not first.rows("IBM")["close"].equals(other.rows("IBM")["close"])
    validated = load_bars(first, (), NOW, 1000)
    assert validated.excluded == ()
    assert validated.problems == ()
