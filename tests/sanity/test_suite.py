"""The suite on the pipeline as it is, and on pipelines that are broken: each check is shown to fail once."""

import numpy as np
import pandas as pd
import pytest

from pipeline.audit.steps import Steps
from pipeline.errors import UsageError
from pipeline.forecasters.forecaster import LEVELS, MEDIAN
from pipeline.market.door import load
from pipeline.market.held import HeldPrices
from pipeline.market.sample import open_sample
from pipeline.market.specification import SyntheticSource
from pipeline.market.synthetic import known_returns, open_synthetic
from pipeline.sanity.check import Check
from pipeline.sanity.leaks import LEAKING, scaled_on_everything
from pipeline.sanity.optimum import best_quantiles
from pipeline.sanity.shuffling import shuffled_returns
from pipeline.sanity.suite import (
    LONG_IN_THE_SAMPLE,
    NOW,
    Part,
    leaks,
    nothing,
    planted_return,
    planted_volatility,
    random_walk,
    shuffled,
    suite,
)
from tests.sanity.forecasters import NOTHING_LEARNED

REAL = Steps()


def words(checks: tuple[Check, ...]) -> dict[str, bool]:
    return {check.name: check.passed for check in checks}


def part(name: str, steps: Steps = REAL, seed: int = 0) -> Part:
    return suite(seed, 5, steps)[name]


def test_too_few_seeds_are_refused() -> None:
    with pytest.raises(UsageError, match="found 4 seeds, expected 5 or more"):
        suite(seeds=4)


# --- What the pipeline as it is has to pass, and broken ones have to fail ---


@pytest.mark.slow
def test_the_sine_is_learned_and_without_learning_it_is_not() -> None:
    assert words(part("sine")()) == {"sine": True}
    (failed,) = part("sine", NOTHING_LEARNED)()
    assert failed.found > 1.5


def test_the_sine_is_told_as_too_good_where_the_outcome_is_read() -> None:
    (failed,) = part("sine", LEAKING)()
    assert failed.found < failed.low


def test_a_planted_return_is_found_up_to_the_optimum_and_no_further() -> None:
    found, share = planted_return(0, REAL)
    assert (found.passed, share.passed) == (True, True)
    unlearned, too_little = planted_return(0, NOTHING_LEARNED)
    assert (unlearned.passed, too_little.passed) == (False, False)
    assert too_little.found < 0.1
    _, too_much = planted_return(0, LEAKING)
    assert too_much.found > too_much.high


def test_a_planted_volatility_is_found_up_to_the_optimum_and_no_further() -> None:
    found, share = planted_volatility(0, REAL)
    assert (found.passed, share.passed) == (True, True)
    _, too_little = planted_volatility(0, NOTHING_LEARNED)  # its bands are as wide as the last returns were, no more
    assert 0.2 < too_little.found < too_little.low
    _, too_much = planted_volatility(0, LEAKING)
    assert too_much.found > too_much.high


@pytest.mark.slow
def test_nothing_is_found_in_noise_but_by_a_leak() -> None:
    for name, prices in (("random walk", random_walk), ("shuffled returns", shuffled)):
        several = [prices(seed) for seed in range(3)]
        assert all(check.passed for check in nothing(name, several, REAL))
        leaking = nothing(name, several, LEAKING)
        assert [check.found for check in leaking] == [3, 3]
        assert not any(check.passed for check in leaking)


@pytest.mark.slow
def test_leaks_are_caught_and_the_pipeline_has_none() -> None:
    assert words(leaks(0, REAL)) == {"no leak": True, "planted leaks": True, "leak, seen in scores": True}


@pytest.mark.slow
def test_a_pipeline_with_a_leak_is_no_honest_one() -> None:
    told = words(leaks(0, Steps(fit=scaled_on_everything)))
    assert (told["no leak"], told["planted leaks"]) == (False, True)


# --- What they are measured on ---


@pytest.mark.parametrize("process", ["sine", "planted", "planted_garch"])
def test_the_best_quantiles_are_those_of_the_session_after_the_origin(process: str) -> None:
    source = SyntheticSource.model_validate({"process": process, "sessions": 60, "tickers": 2, "seed": 3})
    sessions = open_synthetic(source).rows("SYN001")["session"].to_numpy().astype("datetime64[D]")
    best = best_quantiles(source, sessions, sessions[[10, 20, 59]])
    for k in range(2):
        known = known_returns(source, k)
        for row, session in enumerate((11, 21)):
            assert best[k, row, MEDIAN] == pytest.approx(known.expectation[session])
            draws = np.random.default_rng(0).normal(known.expectation[session], known.volatility[session], 200_000)
            np.testing.assert_allclose(best[k, row], np.quantile(draws, LEVELS), atol=2e-4)
    assert np.isnan(best[:, 2]).all()


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


def rows_of(prices: HeldPrices, ticker: str) -> pd.DataFrame:
    return prices.rows(ticker).sort_values("session").reset_index(drop=True)


def test_shuffled_returns_are_the_same_days_in_another_order() -> None:
    sample, mixed = open_sample(), shuffled_returns(open_sample(), LONG_IN_THE_SAMPLE, 1)
    order = None
    for ticker in LONG_IN_THE_SAMPLE:
        before, after = rows_of(sample, ticker), rows_of(mixed, ticker)
        before = before[before["session"].isin(set(rows_of(sample, "GOOG")["session"]))]
        real = np.diff(np.log(before["adj_close"]))
        real = real - real.mean()
        made = np.diff(np.log(after["close"]), prepend=np.log(100.0))
        np.testing.assert_allclose(np.sort(made), np.sort(real), atol=1e-12)
        assert abs(np.corrcoef(np.abs(made[1:]), np.abs(made[:-1]))[0, 1]) < 0.06  # volatility no longer persists
        assert np.corrcoef(np.abs(real[1:]), np.abs(real[:-1]))[0, 1] > 0.15
        mine = np.argsort(made)[np.argsort(np.argsort(real))]  # where each real day went
        assert order is None or (mine == order).mean() > 0.95  # ties aside
        order = mine
        assert (after["volume"].to_numpy()[mine] == before["volume"].to_numpy()[1:]).mean() > 0.95
        shape = (before["high"] / before["close"]).to_numpy()[1:]
        np.testing.assert_allclose(np.sort(after["high"] / after["close"]), np.sort(shape), rtol=1e-12)


def test_shuffled_returns_pass_the_door_and_depend_on_the_seed_alone() -> None:
    first, again, other = (shuffled_returns(open_sample(), LONG_IN_THE_SAMPLE, seed) for seed in (1, 1, 2))
    pd.testing.assert_frame_equal(first.rows("IBM"), again.rows("IBM"))
    assert not first.rows("IBM")["close"].equals(other.rows("IBM")["close"])
    admitted = load(first, (), NOW, 1000)
    assert admitted.left_out == ()
    assert admitted.problems == ()
