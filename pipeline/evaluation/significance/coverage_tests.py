"""Kupiec's and Christoffersen's tests: do outcomes fall within a band at its nominal rate, and independently?

Their chi-square limits are wrong at the lengths of a backtest. A p-value here is the rank of the statistic among those
of simulated independent hits (Monte Carlo test, Dufour 2006), ties broken at random, so that the size is the nominal
one at any length. The result is deterministic: the simulation is seeded and ties are broken by the hits.
"""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

import numpy as np
from scipy.special import xlogy

from pipeline.arrays import Booleans, Floats, Indices
from pipeline.errors import UsageError
from pipeline.evaluation.significance.mean_test import MIN_SESSIONS

SIMULATIONS = 4999


@dataclass(frozen=True)
class CoverageTests:
    """Likelihood ratios and Monte Carlo p-values per series [series]; NaN with fewer than 30 sessions."""

    coverage: Floats  # share of hits
    sessions: Indices
    unconditional: Floats
    unconditional_p: Floats
    independence: Floats
    independence_p: Floats
    conditional: Floats
    conditional_p: Floats


@dataclass(frozen=True)
class HitCounts:
    """The counts that the three ratios depend on, integers of any shape."""

    sessions: Indices
    hits: Indices
    first: Indices  # 1 where the first session is a hit
    last: Indices
    pairs: Indices  # two hits in a row


def coverage_tests(hits: Floats, coverage: float, seed: int = 0) -> CoverageTests:
    """Return the tests of hits [series, session], 1 within the band, 0 outside, NaN where unknown, at nominal coverage.

    Unconditional coverage: Kupiec (1995), table 2. Independence and conditional coverage: Christoffersen (1998), eq.
    5 to 9. The null is hits independent over sessions with the nominal coverage. Those of horizons above 1 are
    dependent by construction: use `coverage_tests_overlapping`. Tickers miss together and are tested one by one.
    Raises UsageError where the coverage is not within 0 and 1 or a hit is neither 0 nor 1.
    """
    if not 0 < coverage < 1:
        raise UsageError(f"a nominal coverage lies between 0 and 1, found {coverage}: give 0.8 for the 80 % band")
    known = np.isfinite(hits)
    if not np.isin(hits[known], (0.0, 1.0)).all():
        raise UsageError("hits are 1 within the band, 0 outside and NaN where unknown: found another value")
    series = [row[present] > 0 for row, present in zip(hits, known, strict=True)]
    sessions = np.array([len(row) for row in series], dtype=np.int64)
    ratios, p = np.full((len(series), 3), np.nan), np.full((len(series), 3), np.nan)
    for row in np.flatnonzero(sessions >= MIN_SESSIONS).tolist():
        ratios[row], p[row] = _tested(series[row], coverage, seed)
    share = np.array([row.mean() if len(row) else np.nan for row in series])
    columns = (column for k in range(3) for column in (ratios[:, k], p[:, k]))
    return CoverageTests(share, sessions, *columns)


def coverage_tests_overlapping(hits: Floats, coverage: float, horizon: int, seed: int = 0) -> CoverageTests:
    """Return the tests of hits [series, session] at a horizon h, whose outcomes overlap with those of h - 1 others.

    Diebold, Gunther and Tay (1998), section 3: every h-th session is tested by itself, h series, and the smallest p
    times h is a p-value of all (Bonferroni). Ratios are the largest of the h; coverage is that of all sessions.
    Raises UsageError as `coverage_tests` does.
    """
    if horizon == 1:
        return coverage_tests(hits, coverage, seed)
    parts = [coverage_tests(hits[:, k::horizon], coverage, seed) for k in range(horizon)]
    whole = [_worst([getattr(part, name) for part in parts], name.endswith("_p")) for name in _TESTS]
    sessions = np.sum([part.sessions for part in parts], axis=0)
    return CoverageTests(_share(hits), sessions, *whole)


_TESTS = tuple(name for stem in ("unconditional", "independence", "conditional") for name in (stem, f"{stem}_p"))


def _share(hits: Floats) -> Floats:
    known = np.isfinite(hits)
    share: Floats = np.where(known, hits, 0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)
    return share


def _worst(values: list[Floats], is_p: bool) -> Floats:
    """Return Bonferroni's p, or the largest ratio [series]; NaN where a part has none."""
    stacked = np.array(values)
    worst: Floats = np.minimum(len(values) * stacked.min(axis=0), 1.0) if is_p else stacked.max(axis=0)
    return worst


def _tested(hits: Booleans, coverage: float, seed: int) -> tuple[Floats, Floats]:
    """Return the three ratios of one series and their p-values."""
    ratios = likelihood_ratios(counts_of(hits), coverage)
    simulated = _null(len(hits), coverage, seed)  # [test, simulation], sorted
    below = np.array([np.searchsorted(null, value) for null, value in zip(simulated, ratios, strict=True)])
    upto = np.array([np.searchsorted(null, value, "right") for null, value in zip(simulated, ratios, strict=True)])
    # Of the simulated ratios that are equal to the observed one, a share drawn at random counts as larger.
    ties = np.floor(_uniform(hits, seed) * (upto - below + 1))
    p: Floats = (SIMULATIONS - upto + ties + 1) / (SIMULATIONS + 1)
    return ratios, p


def _uniform(hits: Booleans, seed: int) -> float:
    """Return a pseudo-random number within 0 and 1 that depends on the hits and the seed alone."""
    digest = blake2b(np.packbits(hits).tobytes(), digest_size=7, key=str((seed, len(hits))).encode()).digest()
    return int.from_bytes(digest, "big") / 2**56


def counts_of(hits: Booleans) -> HitCounts:
    """Return the counts of hit series [..., session]."""
    pairs = (hits[..., 1:] & hits[..., :-1]).sum(axis=-1)
    first, last = hits[..., 0].astype(np.int64), hits[..., -1].astype(np.int64)
    return HitCounts(np.asarray(hits.shape[-1]), hits.sum(axis=-1), first, last, pairs)


def likelihood_ratios(counts: HitCounts, coverage: float) -> Floats:
    """Return the ratios of unconditional coverage, independence and conditional coverage [3, ...].

    -2 log(L(null) / L(alternative)). The last is the sum of the first two (Christoffersen 1998, eq. 9): the first
    session's hit counts for coverage, and is given for independence. Rounded, so that equal counts are equal ratios.
    """
    misses = counts.sessions - counts.hits
    unconditional = _likelihood(counts.hits, misses) - xlogy(counts.hits, coverage) - xlogy(misses, 1 - coverage)
    before, after = counts.hits - counts.last, counts.hits - counts.first  # hits that have a next, a previous session
    moved_out, moved_in = before - counts.pairs, after - counts.pairs
    stayed_out = counts.sessions - 1 - before - moved_in
    free = _likelihood(counts.pairs, moved_out) + _likelihood(moved_in, stayed_out)
    independence = free - _likelihood(after, counts.sessions - 1 - after)
    ratios: Floats = 2 * np.stack([unconditional, independence, unconditional + independence])
    return np.maximum(np.round(ratios, 9), 0.0)


def _likelihood(hits: Indices, misses: Indices) -> Floats:
    """Return the log likelihood of hits and misses at their own share."""
    total = np.maximum(hits + misses, 1)
    likelihood: Floats = xlogy(hits, hits / total) + xlogy(misses, misses / total)
    return likelihood


@lru_cache(maxsize=1024)
def _null(sessions: int, coverage: float, seed: int) -> Floats:
    """Return the three ratios of simulated independent hits [3, simulation], sorted, read-only."""
    ratios = likelihood_ratios(simulated_counts(sessions, coverage, seed), coverage)
    ratios.sort(axis=1)
    ratios.setflags(write=False)
    return ratios


def simulated_counts(sessions: int, coverage: float, seed: int) -> HitCounts:
    """Return the counts of simulated independent hits [simulation], drawn without the hits themselves.

    Given the number of hits N, all orders are equally likely: their runs lie in some of the n - N + 1 places between,
    before and after the misses. Of N hits in that many places the number of runs is hypergeometric (Wald and Wolfowitz
    1940, section 3); the first session is a hit if the first place is among those with a run, and the last likewise.
    """
    draws = np.random.default_rng((seed, sessions))
    hits = draws.binomial(sessions, coverage, SIMULATIONS)
    places = sessions - hits + 1
    runs = draws.hypergeometric(places, np.maximum(hits - 1, 0), hits)
    first = (draws.uniform(size=SIMULATIONS) * places < runs).astype(np.int64)
    last = (draws.uniform(size=SIMULATIONS) * (places - 1) < runs - first).astype(np.int64)
    last = np.where(places == 1, first, last)  # only hits: both ends are of the one run
    return HitCounts(np.asarray(sessions), hits, first, last, hits - runs)
