"""Distances of a sample from a reference sample, both counted at the same edges: PSI and Kolmogorov-Smirnov.

Counts add up over sessions, so a window, a run of windows and a resampled stretch are sums of the same counts.
"""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Array, Floats, Indices

BINS = 20
"""KS is taken over the twentieths of the reference: without ties within 1/20 of that over every value."""
DECILES = 10
FLOOR = 0.001
"""The least share of a bin in PSI: an empty bin has an infinite logarithm otherwise."""


@dataclass(frozen=True)
class ReferenceDistribution:
    """The edges at which samples are counted, and the share of the reference at or below each."""

    edges: Floats  # [edge], ascending, the first just below the reference, the last infinite
    share: Floats  # [edge]
    deciles: Indices  # which edges bound the bins of PSI; the last edge is the last of them


def reference_distribution(values: Array) -> ReferenceDistribution:
    """Return the distribution of a reference sample [value], finite and not empty.

    Edges are its twentieths, values of the sample, the last of them its largest; the first lies just below its
    smallest, so that a sample outside the range of the reference is at a KS distance of one. A value that fills more
    than a bin alone has one bin for itself, so that a constant has three: below, itself, above.
    """
    ordered = np.sort(values)
    ranks = -(-np.arange(1, BINS + 1) * len(ordered) // BINS) - 1
    quantiles = ordered[ranks].astype(np.float64)
    below = np.nextafter(np.float64(ordered[0]), -np.inf)
    edges = np.unique(np.concatenate([[below], _bounds(quantiles), [np.inf]]))
    share = np.append(np.searchsorted(ordered, edges[:-1], side="right"), len(ordered)) / len(ordered)
    deciles = np.searchsorted(edges, _bounds(quantiles[BINS // DECILES - 1 :: BINS // DECILES]))
    return ReferenceDistribution(edges, share, np.append(deciles, len(edges) - 1))


def counts_at_edges(values: Array, session: Indices, sessions: int, edges: Floats) -> Floats:
    """Return how many of the values [value] of each session are at or below each edge [session, edge]."""
    bins = np.searchsorted(edges, values)
    counts = np.bincount(session * len(edges) + bins, minlength=sessions * len(edges))
    at_or_below: Floats = counts.reshape(sessions, len(edges)).cumsum(axis=1).astype(np.float64)
    return at_or_below


def window_shares(counts: Array, window_sessions: int) -> Array:
    """Return the share at or below each edge in each window [..., look, edge], of counts [..., session, edge].

    Sums of counts are exact, in float32 too up to 16 million rows, so a window does not depend on what came before it.
    """
    total = counts.cumsum(axis=-2)
    total[..., window_sessions:, :] -= total[..., :-window_sessions, :].copy()
    windows = total[..., window_sessions - 1 :, :]
    windows /= windows[..., -1:]
    return windows


def stability_index(reference: Array, share: Array) -> Array:
    """Return the population stability index [...] of shares at or below the bounds of its bins [..., bound].

    sum (q - p) ln(q / p) over the bins, each share floored (Siddiqi 2006, Credit Risk Scorecards, chapter 9; the
    symmetric divergence of Jeffreys 1946).
    """
    p, q = (np.maximum(np.diff(at_or_below, axis=-1, prepend=0), FLOOR) for at_or_below in (reference, share))
    index: Array = ((q - p) * np.log(q / p)).cumsum(axis=-1)[..., -1]  # bin by bin: the order of `sum` is by shape
    return index


def ks_distance(reference: Array, share: Array) -> Array:
    """Return the largest difference of two distribution functions [...] at the edges [..., edge] (Smirnov 1939)."""
    difference = share - reference
    distance: Array = np.maximum(difference.max(axis=-1), -difference.min(axis=-1))
    return distance


def _bounds(quantiles: Floats) -> Floats:
    """Return the quantiles without repetition, and a bound just below each that is repeated."""
    repeated = quantiles[1:][quantiles[1:] == quantiles[:-1]]
    return np.unique(np.concatenate([quantiles, np.nextafter(repeated, -np.inf)]))
