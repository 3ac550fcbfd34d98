"""Multiple testing: a search on noise that continues until something passes finds nothing."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import UsageError
from pipeline.evaluation.comparisons import SIGNIFICANT, comparison_table, pooled
from pipeline.evaluation.trials import Trials, benjamini_hochberg, holm
from pipeline.forecasters.unit_quantiles import normal_unit_quantiles
from pipeline.forecasting.forecasts import NETWORK
from tests.benchmarks.multiple_testing import against_climatology, backtest_of, better, configurations, noise

WORLDS, TICKERS, SESSIONS, CONFIGURATIONS = 24, 5, 300, 150


counts = st.integers(1, 10_000)


chances = st.floats(0.0, 1.0)


def counted(k: int, p: float) -> float:
    return Trials(tested=k).adjusted(p)


def uncounted(_k: int, p: float) -> float:
    return p


def max_share(tries: int) -> float:
    """Return the stated level plus two standard errors of a rate over `tries`."""
    return SIGNIFICANT + 2 * float(np.sqrt(SIGNIFICANT * (1 - SIGNIFICANT) / tries))


@settings(derandomize=True, deadline=None, max_examples=200)
@given(counts, chances)
def test_an_adjusted_p_is_a_chance_and_never_smaller(tested: int, p: float) -> None:
    adjusted = Trials(tested).adjusted(p)
    assert p <= adjusted <= 1.0
    assert Trials(tested + 1).adjusted(p) >= adjusted


@settings(derandomize=True, deadline=None, max_examples=100)
@given(chances)
def test_the_first_specification_is_not_adjusted(p: float) -> None:
    assert Trials().adjusted(p) == p


def test_by_hand() -> None:
    assert [Trials(k).adjusted(0.001) for k in (1, 2, 3, 10)] == pytest.approx([0.001, 0.002, 0.006, 0.09])
    assert Trials(500).adjusted(0.001) == 1.0
    assert np.isnan(Trials(3).adjusted(float("nan")))
    assert Trials(500).adjusted(1e-30) > 0, "what is below the rounding of one is not rounded to nothing"


@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.integers(1, 2000))
def test_the_shares_of_all_tests_sum_to_less_than_two(length: int) -> None:
    assert sum(1 / Trials(k).factor for k in range(1, length + 1)) < 2


def test_only_tested_specifications_adjust_p_and_all_are_counted() -> None:
    assert Trials(3, 5).total == 7
    assert Trials(3, 5).adjusted(0.01) == Trials(3).adjusted(0.01)
    assert Trials(4, 1).total == 4


@pytest.mark.parametrize(("tested", "tuned"), [(0, 1), (1, 0), (-2, 3)])
def test_the_specification_under_evaluation_is_counted(tested: int, tuned: int) -> None:
    with pytest.raises(UsageError, match=f"found {tested} tested and {tuned} tuned"):
        Trials(tested, tuned)


def test_a_search_of_500_rarely_calls_anything_better() -> None:
    """The hardest case: specifications that have nothing in common, each as good as the baseline."""
    histories, length = 1000, 500
    draws = np.random.default_rng(3)
    p, is_smaller = draws.uniform(size=(histories, length)), draws.uniform(size=(histories, length)) < 0.5
    adjusted = np.array([[counted(k, value) for k, value in enumerate(row, start=1)] for row in p])
    errors = (is_smaller & (adjusted <= SIGNIFICANT)).any(axis=1).mean()
    assert errors <= max_share(histories)
    assert errors >= 0.02, "the level is not wasted"
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
    assert honest <= max_share(WORLDS)


def test_the_comparison_rejects_what_a_search_found_at_last(searches: list[tuple[np.ndarray, np.ndarray]]) -> None:
    found = [(seed, np.flatnonzero(better(t, p, uncounted))) for seed, (t, p) in enumerate(searches)]
    seed, last = next((seed, int(which[-1])) for seed, which in found if len(which))
    said = list(configurations(seed, (TICKERS, SESSIONS), CONFIGURATIONS))[last]
    backtest = backtest_of(noise(seed, TICKERS, SESSIONS), said)
    words = [
        pooled(comparison_table(backtest, trials), NETWORK, 1)["conclusion"]["climatology"]
        for trials in (Trials(), Trials(last + 1))
    ]
    assert words == ["better", "no evidence"]


def test_real_skill_is_found() -> None:
    world = noise(1)
    t, p = against_climatology(world, iter([world.volatility[..., None] * normal_unit_quantiles()]))
    assert t[0] < 0
    assert Trials(tested=500).adjusted(p[0]) <= SIGNIFICANT


def slow_benjamini_hochberg(p: list[float]) -> list[float]:
    """Each p's smallest over the p that are not smaller of p times tests / rank."""
    scaled = {rank: value * len(p) / rank for rank, value in enumerate(sorted(p), start=1)}
    ranks = [sum(other <= value for other in p) for value in p]  # of equal ones the last
    return [min([1.0, *(scaled[later] for later in range(rank, len(p) + 1))]) for rank in ranks]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.one_of(st.none(), st.floats(0, 1), st.sampled_from((0.0, 0.01, 1.0))), max_size=40))
def test_it_is_the_step_up_rule_over_what_has_a_p(listed: list[float | None]) -> None:
    p = np.array([np.nan if value is None else value for value in listed])
    found, known = benjamini_hochberg(p), np.isfinite(p)
    assert np.isnan(found[~known]).all()
    assert found[known].tolist() == pytest.approx(slow_benjamini_hochberg(p[known].tolist()), rel=1e-12)


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


def slow_holm(p: list[float]) -> list[float]:
    """Return the smallest level at which each is rejected, by trying the procedure at every p times a rank."""
    m = len(p)

    def rejected(level: float) -> set[int]:
        found: set[int] = set()
        for rank, at in enumerate(sorted(range(m), key=p.__getitem__)):
            if p[at] * (m - rank) > level:
                break
            found.add(at)
        return found

    levels = sorted({min(1.0, value * rank) for value in p for rank in range(1, m + 1)} | {1.0})
    return [next(level for level in levels if level == 1.0 or at in rejected(level)) for at in range(m)]


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.lists(chances, min_size=1, max_size=6))
def test_holm_is_the_level_at_which_the_step_down_rejects(p: list[float]) -> None:
    np.testing.assert_allclose(holm(np.array(p)), slow_holm(p))
    with_unknown = holm(np.array([*p, np.nan]))
    np.testing.assert_allclose(with_unknown[:-1], slow_holm(p))
    assert np.isnan(with_unknown[-1])
