"""Tests over all forecasters at once: superior predictive ability (SPA) and the model confidence set (MCS)."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Floats
from pipeline.errors import UsageError
from pipeline.evaluation.significance.mean_test import MIN_SESSIONS, RELATIVE_ROUNDING
from pipeline.evaluation.significance.resampling import REPLICATIONS, block_length


@dataclass(frozen=True)
class SuperiorAbility:
    """A test of whether any forecaster is better than the benchmark; small p: at least one is."""

    benchmark: str
    p: float
    best: str  # the forecaster with the largest studentised gain over the benchmark
    block: int
    sessions: int


@dataclass(frozen=True)
class ConfidenceSet:
    """The forecasters that may be the best; a p-value is the level at which one leaves the set."""

    p: Mapping[str, float]
    members: tuple[str, ...]
    block: int
    sessions: int


def superior_ability(losses: Mapping[str, Floats], benchmark: str, horizon: int, seed: int = 0) -> SuperiorAbility:
    """Return the test of the benchmark against all others, on mean losses per session, forecaster -> [session].

    Hansen (2005), the consistent p-value, by the stationary bootstrap of `arch` with blocks of mean `block_length`.
    The library takes the largest mean gain; Hansen's statistic (eq. 1) is the largest studentised one, so that the
    gains are divided by their standard errors (his eq. 5) first. A forecaster whose losses are
    the benchmark's, or larger by a constant, is excluded; p is one where none remains, zero where one is better by a
    constant, NaN with fewer than 30 sessions.
    Raises UsageError where there is no such benchmark or losses are not finite or not as many of each.
    """
    n = _sessions_of(losses, benchmark)
    block = block_length(n, horizon)
    if n < MIN_SESSIONS:
        return SuperiorAbility(benchmark, float("nan"), benchmark, block, n)
    gains = {name: losses[benchmark] - loss for name, loss in losses.items() if name != benchmark}
    errors = {name: bootstrap_error(gain, block) for name, gain in gains.items()}
    always = {name: float(gain.mean()) for name, gain in gains.items() if errors[name] == 0 and gain.mean() > 0}
    if always:
        return SuperiorAbility(benchmark, 0.0, max(always, key=lambda name: always[name]), block, n)
    studentised = {name: gain / errors[name] for name, gain in gains.items() if errors[name] > 0}
    if not studentised:
        return SuperiorAbility(benchmark, 1.0, benchmark, block, n)
    with _arch_translated():
        from arch.bootstrap import SPA  # noqa: PLC0415  heavy

        test = SPA(np.zeros(n), -np.stack(list(studentised.values()), axis=1), block, REPLICATIONS, seed=seed)
        test.compute()
        p = float(test.pvalues["consistent"])
    best = max(studentised, key=lambda name: float(studentised[name].mean()))
    return SuperiorAbility(benchmark, p, best, block, n)


def bootstrap_error(values: Floats, block: int) -> float:
    """Return the root of the variance that sqrt(n) times a mean has under the stationary bootstrap; 0 where constant.

    Politis and Romano (1994), lemma 1: autocovariances weighted by (1 - k/n) (1 - 1/b)^k + (k/n) (1 - 1/b)^(n - k).
    """
    n, centred = len(values), values - values.mean()
    k = np.arange(1, n)
    autocovariances = np.correlate(centred, centred, "full")[n - 1 :] / n
    continued = 1 - 1 / block  # probability that a block goes on
    weights = (1 - k / n) * continued**k + k / n * continued ** (n - k)
    variance = autocovariances[0] + 2 * weights @ autocovariances[1:]
    constant = variance <= (RELATIVE_ROUNDING * np.abs(values).max()) ** 2
    return 0.0 if constant else float(np.sqrt(variance))


def confidence_set(losses: Mapping[str, Floats], horizon: int, level: float = 0.05, seed: int = 0) -> ConfidenceSet:
    """Return the forecasters that may be the best by mean losses per session, forecaster -> [session].

    Hansen, Lunde and Nason (2011), the range statistic (section 3.1.2), by the stationary bootstrap of `arch` with
    blocks of mean `block_length`. The set holds the best with probability 1 - level at least. Forecasters whose losses
    are equal share a p-value, and one whose loss is another's plus a constant leaves first. With fewer than 30
    sessions none can leave: p is NaN, and all are members.
    Raises UsageError where there is no forecaster or losses are not finite or not as many of each.
    """
    n = _sessions_of(losses)
    block = block_length(n, horizon)
    if n < MIN_SESSIONS:
        return ConfidenceSet(dict.fromkeys(losses, float("nan")), tuple(losses), block, n)
    columns: dict[bytes, int] = {}
    column_of = {name: columns.setdefault(loss.tobytes(), len(columns)) for name, loss in losses.items()}
    p_of = _p_by_column(np.stack([np.frombuffer(loss) for loss in columns], axis=1), block, seed)
    p = {name: p_of[column] for name, column in column_of.items()}
    return ConfidenceSet(p, tuple(name for name, value in p.items() if value > level), block, n)


def _p_by_column(losses: Floats, block: int, seed: int) -> list[float]:
    """Return the p-value of each column of losses [session, column], no two of them equal."""
    remaining = [column for column in range(losses.shape[1]) if not _always_beaten(losses, column)]
    p = [0.0] * losses.shape[1]
    for column, value in zip(remaining, _p_of_each(losses[:, remaining], block, seed), strict=True):
        p[column] = value
    return p


def _always_beaten(losses: Floats, column: int) -> bool:
    """Return whether the losses of another column are these less a constant."""
    more = losses[:, [column]] - losses
    constant = np.ptp(more, axis=0) <= RELATIVE_ROUNDING * np.abs(losses).max()
    return bool((constant & (more.mean(axis=0) > 0)).any())


def _p_of_each(losses: Floats, block: int, seed: int) -> list[float]:
    if losses.shape[1] == 1:
        return [1.0]
    with _arch_translated():
        from arch.bootstrap import MCS  # noqa: PLC0415  heavy

        # The p-values do not depend on the size, which decides the members only.
        test = MCS(losses, 0.05, REPLICATIONS, block, seed=seed)
        test.compute()
        return [float(p) for p in test.pvalues["Pvalue"].sort_index()]


@contextmanager
def _arch_translated() -> Iterator[None]:
    """Raise UsageError where the library cannot compare losses: it divides by a variance of zero."""
    try:
        with np.errstate(divide="raise", invalid="raise"):
            yield
    except (ArithmeticError, IndexError, ValueError) as error:
        raise UsageError(
            f"these losses cannot be compared by bootstrap ({error}): some differ by a constant only; "
            "leave one of them out"
        ) from error


def _sessions_of(losses: Mapping[str, Floats], *needed: str) -> int:
    """Return the number of sessions, which must be the same for all forecasters."""
    if not losses or any(name not in losses for name in needed):
        found = ", ".join(losses) or "none"
        raise UsageError(f"losses of {' and '.join(needed) or 'a forecaster'} are needed, found those of: {found}")
    lengths = {name: len(loss) for name, loss in losses.items()}
    if len(set(lengths.values())) > 1:
        raise UsageError(f"losses must be of the same sessions, found as many as {lengths}: score them together")
    unknown = [name for name, loss in losses.items() if not np.isfinite(loss).all()]
    if unknown:
        raise UsageError(f"losses must be finite, found others for {', '.join(unknown)}: leave those sessions out")
    return lengths.popitem()[1]
