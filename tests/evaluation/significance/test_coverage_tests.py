"""Kupiec's and Christoffersen's tests: published examples, loops, the exact binomial law, their size and power."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, chi2

from pipeline.arrays import Floats
from pipeline.errors import UsageError
from pipeline.evaluation.significance.coverage_tests import (
    CoverageTests,
    counts_of,
    coverage_tests,
    coverage_tests_overlapping,
    likelihood_ratios,
    simulated_counts,
)
from tests.evaluation.significance.series import largest_size


def slow_log(hits: int, misses: int, share: float) -> float:
    return (hits * math.log(share) if hits else 0.0) + (misses * math.log(1 - share) if misses else 0.0)


def slow_ratios(hits: list[int], coverage: float) -> tuple[float, float, float]:
    n, x = len(hits), sum(hits)
    moves = {(a, b): 0 for a in (0, 1) for b in (0, 1)}
    for before, after in pairwise(hits):
        moves[before, after] += 1
    unconditional = 2 * (slow_log(x, n - x, x / n) - slow_log(x, n - x, coverage))
    null = moves[0, 1] + moves[1, 1]
    independence = -slow_log(null, n - 1 - null, null / (n - 1))
    for state in (0, 1):
        total = moves[state, 0] + moves[state, 1]
        if total:
            independence += slow_log(moves[state, 1], moves[state, 0], moves[state, 1] / total)
    return unconditional, 2 * independence, unconditional + 2 * independence


def made_hits(hits: int, pairs: int, sessions: int) -> list[int]:
    """Hits in the middle, `pairs` of them right after another, and no other two in a row."""
    together = [1] * (pairs + 1)
    row = [0, *together, *([0, 1] * (hits - pairs - 1))]
    return row + [0] * (sessions - len(row))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.integers(2, 80), st.floats(0.05, 0.95), st.floats(0, 1), st.integers(0, 10_000))
def test_the_ratios_are_those_of_the_definition(n: int, coverage: float, share: float, seed: int) -> None:
    hits = np.random.default_rng(seed).uniform(size=n) < share
    found = likelihood_ratios(counts_of(hits), coverage).tolist()
    assert found == pytest.approx(slow_ratios(hits.astype(int).tolist(), coverage), rel=1e-8, abs=2e-9)


def test_published_examples() -> None:
    """The documented output of the risk toolbox's varbacktest, and Jorion (2007), chapter 6, question 10."""
    documented = np.array([made_hits(57, 4, 1043)], dtype=np.float64)  # N00 932, N01 53, N10 53, N11 4
    found = coverage_tests(documented, 0.05)
    assert found.unconditional[0] == pytest.approx(0.46147, abs=5e-6)
    assert found.independence[0] == pytest.approx(0.25866, abs=5e-6)
    assert found.conditional[0] == pytest.approx(0.72013, abs=5e-6)
    asymptotic = [chi2.sf(ratio[0], 1) for ratio in (found.unconditional, found.independence)]
    assert asymptotic == pytest.approx([0.49694, 0.61104], abs=5e-6)
    assert (found.unconditional_p[0], found.independence_p[0]) == pytest.approx(tuple(asymptotic), abs=0.05)
    jorion = coverage_tests(np.array([made_hits(6, 4, 252)], dtype=np.float64), 0.01)
    assert jorion.unconditional[0] == pytest.approx(3.498, abs=1e-3)  # cut off, not rounded


@pytest.mark.parametrize("coverage", [0.5, 0.9])
def test_the_monte_carlo_p_is_the_exact_binomial_one_within_its_error(coverage: float) -> None:
    n = 250
    x = np.arange(n + 1)
    probability, share = binom.pmf(x, n, coverage), x / n
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = 2 * (
            np.nan_to_num(x * np.log(share / coverage)) + np.nan_to_num((n - x) * np.log((1 - share) / (1 - coverage)))
        )
    for hits in (round(n * coverage) - 8, round(n * coverage) + 12):
        found = coverage_tests(np.array([[1.0] * hits + [0.0] * (n - hits)]), coverage).unconditional_p[0]
        larger, equal = (
            probability[ratio > ratio[hits] + 1e-9].sum(),
            probability[np.abs(ratio - ratio[hits]) < 1e-9].sum(),
        )
        assert larger - 0.015 <= found <= larger + equal + 0.015


def columns(tests: CoverageTests) -> list[Floats]:
    return [tests.unconditional_p, tests.independence_p, tests.conditional_p]


@pytest.mark.parametrize("n", [250, 1000])
@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.98])
def test_their_size(n: int, coverage: float) -> None:
    draws = np.random.default_rng(n)
    found = coverage_tests((draws.uniform(size=(2000, n)) < coverage).astype(np.float64), coverage)
    simulated = math.sqrt(0.05 * 0.95 / 4999)  # the null is simulated once, too
    for p in columns(found):
        assert 0.035 <= np.mean(p <= 0.05) <= largest_size(2000) + 2 * simulated


def test_their_asymptotic_size_is_wrong() -> None:
    """Why the null is simulated: a 98 % band over 250 sessions."""
    draws = np.random.default_rng(0)
    found = coverage_tests((draws.uniform(size=(2000, 250)) < 0.98).astype(np.float64), 0.98)
    assert np.mean(chi2.sf(found.unconditional, 1) < 0.05) > 0.06
    assert np.mean(chi2.sf(found.independence, 1) < 0.05) < 0.035


def test_their_power() -> None:
    draws = np.random.default_rng(1)
    narrow = coverage_tests((draws.uniform(size=(200, 250)) < 0.7).astype(np.float64), 0.8)
    assert np.mean(narrow.unconditional_p <= 0.05) > 0.9
    assert np.mean(narrow.independence_p <= 0.05) < 0.12
    calm = np.repeat(draws.uniform(size=(200, 25)) < 0.5, 10, axis=1)  # ten sessions calm, ten wild, at random
    clustered = coverage_tests((draws.uniform(size=(200, 250)) < np.where(calm, 0.97, 0.63)).astype(np.float64), 0.8)
    assert np.mean(clustered.independence_p <= 0.05) > 0.5
    assert np.mean(clustered.conditional_p <= 0.05) > 0.4


def test_gaps_are_left_out_and_a_series_does_not_depend_on_its_neighbours() -> None:
    draws = np.random.default_rng(2)
    hits = (draws.uniform(size=(6, 120)) < 0.8).astype(np.float64)
    hits[2, 10:40], hits[4], hits[5, 29:] = np.nan, np.nan, np.nan
    found = coverage_tests(hits, 0.8)
    assert found.sessions.tolist() == [120, 120, 90, 120, 0, 29]
    assert np.isnan([p[4:] for p in columns(found)]).all()
    for k in range(4):
        alone = coverage_tests(hits[k : k + 1, np.isfinite(hits[k])], 0.8)
        assert [p[0] for p in columns(alone)] == [p[k] for p in columns(found)]
        assert alone.coverage[0] == found.coverage[k] == np.nanmean(hits[k])
    assert [p.tolist() for p in columns(coverage_tests(hits[:4], 0.8, seed=1))] != [
        p[:4].tolist() for p in columns(found)
    ]


def test_overlapping_outcomes_are_tested_apart() -> None:
    draws = np.random.default_rng(3)
    hits = (draws.uniform(size=(3, 500)) < 0.8).astype(np.float64)
    hits[0, 40:44] = np.nan
    parts = [coverage_tests(hits[:, k::5], 0.8) for k in range(5)]
    found = coverage_tests_overlapping(hits, 0.8, 5)
    for k in range(3):
        assert found.independence_p[k] == min(1.0, 5 * min(part.independence_p[k] for part in parts))
        assert found.conditional[k] == max(part.conditional[k] for part in parts)
    assert found.sessions.tolist() == [496, 500, 500]
    assert found.coverage.tolist() == np.nanmean(hits, axis=1).tolist()
    assert (
        coverage_tests_overlapping(hits, 0.8, 1).conditional_p.tolist()
        == coverage_tests(hits, 0.8).conditional_p.tolist()
    )


def test_overlapping_outcomes_would_reject_too_often() -> None:
    draws = np.random.default_rng(4)
    moves = draws.normal(size=(300, 504)).cumsum(axis=1)
    hits = (np.abs(moves[:, 4:] - np.c_[np.zeros(300), moves[:, :499]]) < 1.2815515 * math.sqrt(5)).astype(np.float64)
    assert np.mean(coverage_tests(hits, 0.8).independence_p <= 0.05) > 0.9
    assert np.mean(coverage_tests_overlapping(hits, 0.8, 5).conditional_p <= 0.05) <= largest_size(300)


def test_it_says_what_it_needs() -> None:
    with pytest.raises(UsageError, match="between 0 and 1"):
        coverage_tests(np.zeros((1, 40)), 80)
    with pytest.raises(UsageError, match="another value"):
        coverage_tests(np.full((1, 40), 0.5), 0.8)


@pytest.mark.parametrize(("sessions", "coverage"), [(30, 0.5), (40, 0.8), (31, 0.98)])
def test_counts_drawn_without_the_hits_are_those_of_drawn_hits(sessions: int, coverage: float) -> None:
    """Counts of 4,999 simulations have the means, spreads and ties of hits drawn one by one."""
    drawn = counts_of(np.random.default_rng(3).uniform(size=(40_000, sessions)) < coverage)
    found = simulated_counts(sessions, coverage, 5)
    for name in ("hits", "first", "last", "pairs"):
        simulated_values, drawn_values = getattr(found, name).astype(float), getattr(drawn, name).astype(float)
        error = drawn_values.std() * np.sqrt(1 / len(simulated_values) + 1 / len(drawn_values))
        assert abs(simulated_values.mean() - drawn_values.mean()) <= 4 * error, name
        assert simulated_values.std() == pytest.approx(drawn_values.std(), rel=0.08), name
    both = [np.mean((part.first == 1) & (part.last == 1)) for part in (found, drawn)]
    assert both[0] == pytest.approx(both[1], abs=0.03)
    together = [np.corrcoef(part.hits, part.pairs)[0, 1] for part in (found, drawn)]
    assert together[0] == pytest.approx(together[1], abs=0.03)
    assert (found.pairs <= np.maximum(found.hits - 1, 0)).all()
