"""Hansen's test and the model confidence set: against loops over the same drawn sessions, their size and power."""

import math

import numpy as np
import pytest
from arch.bootstrap import MCS, StationaryBootstrap

from pipeline.arrays import Floats
from pipeline.errors import UsageError
from pipeline.evaluation.significance.resampling import REPLICATIONS, block_length
from pipeline.evaluation.significance.superior_ability import bootstrap_error, confidence_set, superior_ability
from tests.evaluation.significance.series import largest_size


def made_losses(seed: int, sessions: int = 120, gains: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)) -> dict[str, Floats]:
    draws = np.random.default_rng(seed)
    common = draws.exponential(size=sessions)
    return {name: common + draws.normal(-gain, 1, sessions) for name, gain in zip("abcdefgh", gains, strict=False)}


def drawn(sessions: int, seed: int) -> list[Floats]:
    bootstrap = StationaryBootstrap(block_length(sessions, 1), np.arange(sessions), seed=seed)
    return [data[0][0] for data in bootstrap.bootstrap(REPLICATIONS)]


def slow_error(values: Floats, block: int) -> float:
    """Hansen (2005), eq. 5, by loops."""
    n, centred = len(values), values - values.mean()
    total = float(centred @ centred) / n
    for k in range(1, n):
        kappa = (n - k) / n * (1 - 1 / block) ** k + k / n * (1 - 1 / block) ** (n - k)
        total += 2 * kappa * float(centred[: n - k] @ centred[k:]) / n
    return math.sqrt(total)


def test_the_error_is_that_of_the_paper() -> None:
    values = np.random.default_rng(0).normal(size=90).cumsum()
    assert bootstrap_error(values, 6) == pytest.approx(slow_error(values, 6), rel=1e-8)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_is_the_studentised_consistent_test_of_the_paper(seed: int) -> None:
    losses = made_losses(seed, gains=(0.0, 0.15, -0.3, 0.05))
    n, block = 120, block_length(120, 1)
    gains = {k: losses["a"] - losses[k] for k in "bcd"}
    error = {k: slow_error(d, block) for k, d in gains.items()}
    statistic = max(math.sqrt(n) * d.mean() / error[k] for k, d in gains.items())
    kept = {k: d.mean() >= -error[k] / math.sqrt(n) * math.sqrt(2 * math.log(math.log(n))) for k, d in gains.items()}
    larger = 0
    for sessions in drawn(n, seed):
        star = max(
            math.sqrt(n) * (d[sessions].mean() - (d.mean() if kept[k] else 0.0)) / error[k] for k, d in gains.items()
        )
        larger += star > statistic
    found = superior_ability(losses, "a", 1, seed)
    assert found.p == pytest.approx(larger / REPLICATIONS, abs=1e-8)
    assert found.best == max(gains, key=lambda k: gains[k].mean() / error[k])
    assert (found.block, found.sessions) == (block, n)


@pytest.mark.parametrize("seed", [1, 2])
def test_the_set_is_that_of_the_paper(seed: int) -> None:
    losses = made_losses(seed, gains=(0.0, 0.2, -0.3, 0.1))
    names, matrix = list(losses), np.stack(list(losses.values()), axis=1)
    means = matrix.mean(axis=0)
    stars = np.array([matrix[sessions].mean(axis=0) for sessions in drawn(120, seed)]) - means
    deviation = {(i, j): math.sqrt(np.mean((stars[:, i] - stars[:, j]) ** 2)) for i in range(4) for j in range(4)}
    left, p, largest = list(range(4)), {}, 0.0
    while len(left) > 1:
        pairs = [(i, j) for i in left for j in left if i != j]
        t = {pair: (means[pair[0]] - means[pair[1]]) / deviation[pair] for pair in pairs}
        star = np.max([(stars[:, i] - stars[:, j]) / deviation[i, j] for i, j in pairs], axis=0)
        worst = max(t, key=lambda pair: t[pair])
        largest = max(largest, float(np.mean(t[worst] < star)))
        p[names[worst[0]]] = largest
        left.remove(worst[0])
    p[names[left[0]]] = 1.0
    found = confidence_set(losses, 1, 0.1, seed)
    assert dict(found.p) == pytest.approx(p, abs=1e-8)
    assert set(found.members) == {name for name, value in p.items() if value > 0.1}
    library = MCS(matrix, 0.1, REPLICATIONS, block_length(120, 1), seed=seed)
    library.compute()
    assert sorted(library.included) == sorted(names.index(name) for name in found.members)


def test_they_find_the_better_one() -> None:
    losses = made_losses(5, 250, (0.0, 0.0, 0.0, 0.6))
    assert superior_ability(losses, "a", 1).p < 0.01
    assert superior_ability(losses, "d", 1).p > 0.5
    assert confidence_set(losses, 1).members == ("d",)


def test_their_size() -> None:
    panels = [made_losses(100 + k, 250) for k in range(20)]
    assert np.mean([superior_ability(losses, "a", 1).p < 0.05 for losses in panels]) <= largest_size(20)
    assert np.mean(["a" in confidence_set(losses, 1).members for losses in panels]) >= 1 - largest_size(20)


def test_the_same_seed_is_the_same_result() -> None:
    losses = made_losses(6)
    assert superior_ability(losses, "a", 1) == superior_ability(losses, "a", 1)
    assert superior_ability(losses, "a", 1, seed=1).p != superior_ability(losses, "a", 1).p
    assert confidence_set(losses, 1) == confidence_set(losses, 1)
    assert superior_ability(losses, "a", 9).block == 18


def test_equal_losses_share_a_place() -> None:
    losses = made_losses(7, gains=(0.0, 0.3, 0.1))
    twice = {**losses, "again": losses["b"].copy()}
    assert confidence_set(twice, 1).p["again"] == confidence_set(twice, 1).p["b"] == confidence_set(losses, 1).p["b"]
    assert superior_ability(twice, "b", 1).p == superior_ability(losses, "b", 1).p
    alone = {"a": losses["a"], "same": losses["a"].copy()}
    assert superior_ability(alone, "a", 1).p == 1
    assert confidence_set(alone, 1).members == ("a", "same")


def test_with_few_sessions_nothing_is_said() -> None:
    losses = made_losses(8, 29)
    assert math.isnan(superior_ability(losses, "a", 1).p)
    assert confidence_set(losses, 1).members == ("a", "b", "c", "d")
    assert all(math.isnan(p) for p in confidence_set(losses, 1).p.values())


def test_it_says_what_cannot_be_compared() -> None:
    losses = made_losses(9)
    with pytest.raises(UsageError, match="nobody"):
        superior_ability(losses, "nobody", 1)
    with pytest.raises(UsageError, match="same sessions"):
        confidence_set({**losses, "short": losses["a"][:50]}, 1)
    with pytest.raises(UsageError, match="finite, found others for gap"):
        confidence_set({**losses, "gap": np.full(120, np.nan)}, 1)
    with pytest.raises(UsageError, match="forecaster"):
        confidence_set({}, 1)


def test_what_is_worse_by_a_constant_is_beaten_for_certain() -> None:
    losses = made_losses(9)
    more = {**losses, "worse": losses["a"] + 0.25}
    found = confidence_set(more, 1)
    assert found.p["worse"] == 0
    assert {name: found.p[name] for name in losses} == confidence_set(losses, 1).p
    assert superior_ability(more, "worse", 1).p == 0
    assert superior_ability(more, "worse", 1).best == "a"
    assert superior_ability(more, "b", 1).p <= 1
    flat = {"zero": np.zeros(120), "one": np.ones(120)}
    assert confidence_set(flat, 1).members == ("zero",)
    assert (superior_ability(flat, "zero", 1).p, superior_ability(flat, "one", 1).p) == (1, 0)
