"""The sequential test: its bound, its wealth against a plain loop, its false alarms and its power."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.arrays import Floats
from pipeline.evaluation.scores import pinball_of
from pipeline.evaluation.significance.sequential import (
    STAKES,
    e_rejected,
    interleaved_wealth,
    least_difference,
    wealth,
)
from pipeline.forecasters.forecaster import LEVELS
from tests.benchmarks.sequential import SequentialWorld, evidence_of

finite = st.floats(-0.2, 0.2)
quantile_rows = arrays(np.float64, (7,), elements=finite).map(np.sort)


@given(quantile_rows, quantile_rows, arrays(np.float64, (50,), elements=st.floats(-1, 1)))
def test_no_outcome_loses_less_than_the_least_difference(own: Floats, others: Floats, outcomes: Floats) -> None:
    rows, other_rows = np.tile(own, (50, 1)), np.tile(others, (50, 1))
    found = pinball_of(rows, outcomes) - pinball_of(other_rows, outcomes)
    assert (found >= least_difference(rows, other_rows) - 1e-12).all()


def test_the_least_difference_is_attained() -> None:
    own, others = np.linspace(0.01, 0.04, 7)[None], np.linspace(-0.03, 0.0, 7)[None]
    above = pinball_of(own, np.array([1.0])) - pinball_of(others, np.array([1.0]))
    assert least_difference(own, others) == pytest.approx(above)
    assert (least_difference(own, own) == 0).all()
    bound = np.mean(np.maximum(LEVELS, 1 - np.array(LEVELS)) * np.abs(own - others)[0])
    assert -least_difference(own, others)[0] <= bound


def slow_wealth(differences: Floats, least: Floats) -> list[float]:
    purses, found = [1.0 / len(STAKES)] * len(STAKES), []
    for difference, smallest in zip(differences, least, strict=True):
        for k, stake in enumerate(STAKES):
            if smallest < 0:
                purses[k] *= 1 + stake * difference / -smallest
        found.append(sum(purses))
    return found


def drawn(sessions: int, seed: int = 0) -> tuple[Floats, Floats]:
    draws = np.random.default_rng(seed)
    least = -draws.uniform(0.001, 0.01, sessions)
    least[draws.random(sessions) < 0.1] = 0.0
    return -least * draws.uniform(-1, 1.2, sessions), least


def test_the_wealth_is_that_of_a_plain_loop() -> None:
    differences, least = drawn(300)
    assert wealth(differences, least) == pytest.approx(slow_wealth(differences, least), rel=1e-9)


@pytest.mark.parametrize("horizon", [1, 2, 3, 5])
def test_the_interleaved_wealth_is_that_of_plain_loops(horizon: int) -> None:
    differences, least = drawn(43)
    streams = [slow_wealth(differences[k::horizon], least[k::horizon]) for k in range(horizon)]
    expected = []
    for t in range(43):
        bets = [sum(1 for s in range(k, t + 1, horizon)) for k in range(horizon)]
        expected.append(np.mean([own[n - 1] if n else 1.0 for own, n in zip(streams, bets, strict=True)]))
    assert interleaved_wealth(differences, least, horizon) == pytest.approx(expected, rel=1e-9)


def test_later_sessions_change_nothing_before_them() -> None:
    differences, least = drawn(200)
    for horizon in (1, 3):
        whole = interleaved_wealth(differences, least, horizon)
        assert interleaved_wealth(differences[:90], least[:90], horizon).tobytes() == whole[:90].tobytes()


def test_nothing_is_known_before_the_first_session() -> None:
    assert interleaved_wealth(np.empty(0), np.empty(0), 5).shape == (0,)
    assert interleaved_wealth(np.full(2, 0.1), np.full(2, -0.1), 5) == pytest.approx([1.04, 1.08], abs=0.03)


def test_who_loses_as_much_as_possible_is_not_ruined() -> None:
    least = np.full(1000, -0.01)
    found = wealth(least.copy(), least)
    assert (found > 0).all()
    assert (np.diff(found) < 0).all()


@settings(max_examples=200)
@given(st.lists(st.floats(0, 500), min_size=1, max_size=7), st.sampled_from([0.05, 0.1, 0.5]))
def test_what_is_rejected_is_the_largest_set_that_supports_itself(evidence: list[float], level: float) -> None:
    """Every subset whose members all have evidence of K / (its size x level) supports itself; they unite."""
    count, best = len(evidence), set[int]()
    for size in range(1, count + 1):
        for chosen in combinations(range(count), size):
            if all(evidence[k] >= count / (size * level) for k in chosen):
                best |= set(chosen)
    assert set(np.flatnonzero(e_rejected(np.array(evidence), level))) == best


def test_a_forecaster_that_is_as_good_is_rarely_called_worse() -> None:
    worlds = [evidence_of(SequentialWorld(), seed) for seed in range(30)]
    alarms = [any(e_rejected(now, 0.05).any() for now in found.T) for found in worlds]
    assert np.mean(alarms) <= 0.05


def test_a_forecaster_that_loses_is_found() -> None:
    worlds = [evidence_of(SequentialWorld(error=0.4, sessions=500), seed) for seed in range(10)]
    assert np.mean([any(e_rejected(now, 0.05).any() for now in found.T) for found in worlds]) >= 0.9
