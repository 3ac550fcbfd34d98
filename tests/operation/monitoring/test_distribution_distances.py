"""PSI and KS from counts at edges: against slow twins over the samples themselves, with ties, constants and gaps."""

import itertools
from math import log

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.stats import ks_2samp

from pipeline.operation.monitoring.distribution_distances import (
    BINS,
    FLOOR,
    counts_at_edges,
    ks_distance,
    reference_distribution,
    stability_index,
    window_shares,
)

shapes, values_within = array_shapes(max_dims=1, min_side=4, max_side=60), st.floats(-3, 3, width=32)
samples = arrays(np.float32, shapes, elements=values_within)
distinct = arrays(np.float32, shapes, elements=values_within, unique=True)
rounded = samples.map(lambda values: np.round(values).astype(np.float32))  # full of ties


def distances(reference: np.ndarray, values: np.ndarray) -> tuple[float, float]:
    """PSI and KS of a sample from a reference, by counts."""
    distribution = reference_distribution(reference)
    counts = counts_at_edges(values, np.zeros(len(values), dtype=np.int64), 1, distribution.edges)
    share = window_shares(counts, 1)[0]
    bounds = distribution.deciles
    psi = stability_index(distribution.share[bounds], share[bounds])
    return float(psi), float(ks_distance(distribution.share, share))


def slow_psi(reference: np.ndarray, values: np.ndarray) -> float:
    """PSI by a loop over the bins between the deciles, each of which is a value of the reference."""
    ordered = sorted(reference.tolist())
    deciles = [ordered[-(-k * len(ordered) // 10) - 1] for k in range(1, 11)]
    below = [float(np.nextafter(value, -np.inf)) for value in set(deciles) if deciles.count(value) > 1]
    bounds = [-np.inf, *sorted({*deciles, *below}), np.inf]
    total = 0.0
    for low, high in itertools.pairwise(bounds):
        p, q = (
            max(sum(low < value <= high for value in sample.tolist()) / len(sample), FLOOR)
            for sample in (reference, values)
        )
        total += (q - p) * log(q / p)
    return total


@given(samples | rounded, samples | rounded)
def test_psi_is_that_of_a_loop_over_the_bins(reference: np.ndarray, values: np.ndarray) -> None:
    assert distances(reference, values)[0] == pytest.approx(slow_psi(reference, values), abs=1e-9)


@given(samples | rounded, samples | rounded)
def test_ks_is_scipys_of_the_binned_samples(reference: np.ndarray, values: np.ndarray) -> None:
    edges = reference_distribution(reference).edges
    binned = [np.searchsorted(edges, sample) for sample in (reference, values)]
    assert distances(reference, values)[1] == pytest.approx(ks_2samp(*binned, method="asymp").statistic, abs=1e-9)


@given(distinct, samples)
def test_ks_is_within_a_bin_of_scipys_over_every_value(reference: np.ndarray, values: np.ndarray) -> None:
    exact = ks_2samp(reference, values, method="asymp").statistic
    largest_bin = largest_share_between(reference)
    assert exact - largest_bin - 1e-9 <= distances(reference, values)[1] <= exact + 1e-9


def largest_share_between(reference: np.ndarray) -> float:
    """The largest share of the reference in a bin, as it is without ties."""
    return float(np.diff(reference_distribution(reference).share, prepend=0).max())


def test_without_ties_a_bin_holds_a_twentieth() -> None:
    values = np.random.default_rng(0).standard_normal(1000).astype(np.float32)
    shares = np.diff(reference_distribution(values).share, prepend=0)
    assert shares[1:-1] == pytest.approx(np.full(BINS, 1 / BINS), abs=1e-9)
    assert shares[[0, -1]].tolist() == [0, 0]


@pytest.mark.parametrize("moved", [1.0, -1.0])
def test_a_constant_that_moves_either_way_is_as_far_as_can_be(moved: float) -> None:
    constant = np.zeros(50, dtype=np.float32)
    assert distances(constant, constant) == (0.0, 0.0)
    psi, ks = distances(constant, constant + np.float32(moved))
    assert ks == 1.0
    assert psi == pytest.approx(2 * (1 - FLOOR) * log(1 / FLOOR))


def test_the_share_in_a_window_is_of_its_rows_alone() -> None:
    draws = np.random.default_rng(3)
    counts = draws.integers(0, 5, (40, 6)).cumsum(axis=1).astype(np.float64) + 1
    found = window_shares(counts, 7)
    for look in range(34):
        rows = counts[look : look + 7].sum(axis=0)
        assert (found[look] == rows / rows[-1]).all()
    assert (window_shares(counts[5:12], 7)[0] == found[5]).all()
