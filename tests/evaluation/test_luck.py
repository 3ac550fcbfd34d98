"""The count of what was tried: a search on noise that goes on until something passes finds nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.evaluation.gate import SIGNIFICANT, gate_table, pooled
from pipeline.evaluation.luck import Luck
from pipeline.forecasters.unit_quantiles import normal_unit_quantiles
from pipeline.forecasting.forecasts import NETWORK
from tests.benchmarks.luck import against_climatology, backtest_of, better, configurations, noise

WORLDS, TICKERS, SESSIONS, CONFIGURATIONS = 24, 5, 300, 150

counts = st.integers(1, 10_000)
chances = st.floats(0.0, 1.0)


def counted(k: int, p: float) -> float:
    return Luck(tested=k).adjusted(p)


def uncounted(_k: int, p: float) -> float:
    return p


def largest_share(tries: int) -> float:
    """The share of tries with an error that a rate of the stated level may show."""
    return SIGNIFICANT + 2 * float(np.sqrt(SIGNIFICANT * (1 - SIGNIFICANT) / tries))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(counts, chances)
def test_an_adjusted_p_is_a_chance_and_never_smaller(tested: int, p: float) -> None:
    adjusted = Luck(tested).adjusted(p)
    assert p <= adjusted <= 1.0
    assert Luck(tested + 1).adjusted(p) >= adjusted


@settings(derandomize=True, deadline=None, max_examples=100)
@given(chances)
def test_the_first_specification_pays_nothing(p: float) -> None:
    assert Luck().adjusted(p) == p


def test_by_hand() -> None:
    assert [Luck(k).adjusted(0.001) for k in (1, 2, 3, 10)] == pytest.approx([0.001, 0.002, 0.006, 0.09])
    assert Luck(500).adjusted(0.001) == 1.0
    assert np.isnan(Luck(3).adjusted(float("nan")))
    assert Luck(500).adjusted(1e-30) > 0, "what is below the rounding of one is not rounded to nothing"


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.integers(1, 2000))
def test_the_shares_of_all_looks_sum_to_less_than_two(length: int) -> None:
    assert sum(1 / Luck(k).factor for k in range(1, length + 1)) < 2


def test_only_the_test_is_paid_for_and_all_are_told() -> None:
    assert Luck(3, 5).trials == 7
    assert Luck(3, 5).adjusted(0.01) == Luck(3).adjusted(0.01)
    assert Luck(4, 1).trials == 4


@pytest.mark.parametrize(("tested", "tuned"), [(0, 1), (1, 0), (-2, 3)])
def test_what_is_judged_is_counted_itself(tested: int, tuned: int) -> None:
    with pytest.raises(UsageError, match=f"found {tested} tested and {tuned} tuned"):
        Luck(tested, tuned)


def test_a_search_of_500_rarely_calls_anything_better() -> None:
    """The hardest case: specifications that have nothing in common, each as good as the baseline."""
    histories, length = 1000, 500
    draws = np.random.default_rng(3)
    p, is_smaller = draws.uniform(size=(histories, length)), draws.uniform(size=(histories, length)) < 0.5
    adjusted = np.array([[counted(k, value) for k, value in enumerate(row, start=1)] for row in p])
    errors = (is_smaller & (adjusted <= SIGNIFICANT)).any(axis=1).mean()
    assert errors <= largest_share(histories)
    assert errors >= 0.02, "nothing is gained by a level that is never used up"
    sidak = 1 - (1 - p) ** np.arange(1, length + 1)
    assert (is_smaller & (sidak <= SIGNIFICANT)).any(axis=1).mean() > 0.1, "why the smallest of k is not enough"


@pytest.fixture(scope="module")
def searches() -> list[tuple[np.ndarray, np.ndarray]]:
    """t and p of random configurations on noise, a row per world."""
    shape = (TICKERS, SESSIONS)
    return [
        against_climatology(noise(seed, *shape), configurations(seed, shape, CONFIGURATIONS)) for seed in range(WORLDS)
    ]


def test_random_configurations_on_noise_show_an_edge_only_where_they_are_not_counted(
    searches: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    honest, naive = (np.mean([better(t, p, rule).any() for t, p in searches]) for rule in (counted, uncounted))
    assert naive > 0.8
    assert honest <= largest_share(WORLDS)


def test_the_gate_takes_back_what_a_search_found_at_last(searches: list[tuple[np.ndarray, np.ndarray]]) -> None:
    found = [(seed, np.flatnonzero(better(t, p, uncounted))) for seed, (t, p) in enumerate(searches)]
    seed, last = next((seed, int(which[-1])) for seed, which in found if len(which))
    said = list(configurations(seed, (TICKERS, SESSIONS), CONFIGURATIONS))[last]
    backtest = backtest_of(noise(seed, TICKERS, SESSIONS), said)
    words = [pooled(gate_table(backtest, luck), NETWORK, 1)["word"]["climatology"] for luck in (Luck(), Luck(last + 1))]
    assert words == ["better", "no evidence"]


def test_what_is_there_is_found_after_all() -> None:
    world = noise(1)
    t, p = against_climatology(world, iter([world.volatility[..., None] * normal_unit_quantiles()]))
    assert t[0] < 0
    assert Luck(tested=500).adjusted(p[0]) <= SIGNIFICANT
