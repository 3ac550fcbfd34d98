"""Feature drift: how far the features of the last sessions lie from those that a model was trained on.

Per feature the population stability index (PSI) over the deciles of the reference, and the Kolmogorov-Smirnov distance
(KS), of the usable rows of all tickers together. `feature_reference` is made once, from the training range;
`feature_drift` compares the last sessions with it. The usual limits of PSI (0.1 and 0.25) suppose independent rows:
tickers move together and volatility clusters, so thresholds come from steady stretches of the reference itself.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.arrays import Array, Booleans, Floats, Floats32, Indices
from pipeline.errors import UsageError
from pipeline.operation.monitoring.distribution_distances import (
    ReferenceDistribution,
    counts_at_edges,
    ks_distance,
    reference_distribution,
    stability_index,
    window_shares,
)
from pipeline.operation.monitoring.stretches import (
    WINDOW_SESSIONS,
    YEARLY,
    Calibration,
    Stretches,
    draw_stretches,
    enough_sessions,
    joint_thresholds,
)

_TINY = 1e-6
_REPLICATIONS_AT_ONCE = 50  # what fits into a cache: quicker by a third, and the same to the bit

FeatureStatus = Literal["steady", "drift", "not enough sessions"]


@dataclass(frozen=True)
class FeatureReference:
    """What the last sessions are compared with; without distributions, and NaN, where the reference is too short."""

    names: tuple[str, ...]
    distributions: tuple[ReferenceDistribution, ...]
    psi_threshold: Floats  # [feature]
    ks_threshold: Floats  # [feature]
    window_sessions: int
    sessions: int  # those with a usable row


@dataclass(frozen=True)
class FeatureDrift:
    """The distances of one feature over the window, NaN with fewer sessions than that, and their thresholds."""

    feature: str
    psi: float
    psi_threshold: float
    ks: float
    ks_threshold: float
    status: FeatureStatus

    @property
    def drifted(self) -> bool:
        """Return whether either distance is above its threshold."""
        return self.status == "drift"


@dataclass(frozen=True)
class _Rows:
    """The usable rows in their order of tickers, and the place of each among the sessions that have one."""

    values: Floats32  # [feature, row]
    session: Indices  # [row]
    sessions: int


def feature_reference(
    names: tuple[str, ...],
    features: Floats32,
    usable: Booleans,
    window_sessions: int = WINDOW_SESSIONS,
    calibration: Calibration = YEARLY,
) -> FeatureReference:
    """Return the reference of the features [ticker, session, feature] of a training range, usable rows alone.

    Any feature exceeds either threshold in any of `calibration.looks` steady sessions with the probability
    `calibration.false_alarms`, by block bootstrap over sessions. Raises UsageError where shapes do not fit or the
    window is less than a session.
    """
    if window_sessions < 1:
        raise UsageError(f"a window is one session or more, found {window_sessions}: 60 is the default")
    rows = _rows_of(features, _usable_rows(names, features, usable))
    if not enough_sessions(rows.sessions, window_sessions):
        nothing = np.full(len(names), np.nan)
        return FeatureReference(names, (), nothing, nothing, window_sessions, rows.sessions)
    distributions = tuple(reference_distribution(values) for values in rows.values)
    psi, ks = _thresholds(rows, distributions, window_sessions, calibration)
    return FeatureReference(names, distributions, psi, ks, window_sessions, rows.sessions)


def feature_drift(reference: FeatureReference, features: Floats32, usable: Booleans) -> tuple[FeatureDrift, ...]:
    """Return the drift of each feature over the last sessions with a usable row of features [ticker, session, feature].

    Raises UsageError where the features are not as many as the reference has.
    """
    rows = _usable_rows(reference.names, features, usable)
    last = np.flatnonzero(rows.any(axis=0))[-reference.window_sessions :]
    psi, ks = drift_path(reference, features[:, last], rows[:, last])
    numbers = zip(_last(psi), reference.psi_threshold, _last(ks), reference.ks_threshold, strict=True)
    return tuple(_drift_of(name, *map(float, row)) for name, row in zip(reference.names, numbers, strict=True))


def drift_path(reference: FeatureReference, features: Floats32, usable: Booleans) -> tuple[Floats, Floats]:
    """Return PSI and KS [look, feature] after each session that ends a whole window of sessions with a usable row.

    There is no look where the reference was too short. Raises UsageError where the features are not as many as the
    reference has.
    """
    rows = _rows_of(features, _usable_rows(reference.names, features, usable))
    if not reference.distributions or rows.sessions < reference.window_sessions:
        nothing = np.empty((0, len(reference.names)))
        return nothing, nothing
    pairs = [
        _distances(distribution, distribution.share, window_shares(counts, reference.window_sessions))
        for distribution, counts in zip(reference.distributions, _counts(rows, reference.distributions), strict=True)
    ]
    psi, ks = (np.stack(columns, axis=1) for columns in zip(*pairs, strict=True))
    return psi, ks


def _last(path: Floats) -> Floats:
    return path[-1] if len(path) else np.full(path.shape[1], np.nan)


def _drift_of(feature: str, psi: float, psi_threshold: float, ks: float, ks_threshold: float) -> FeatureDrift:
    known = np.isfinite(psi)
    status: FeatureStatus = "drift" if psi > psi_threshold or ks > ks_threshold else "steady"
    return FeatureDrift(feature, psi, psi_threshold, ks, ks_threshold, status if known else "not enough sessions")


def _usable_rows(names: tuple[str, ...], features: Floats32, usable: Booleans) -> Booleans:
    """Return which rows [ticker, session] are usable and have every feature."""
    if features.shape != (*usable.shape, len(names)):
        raise UsageError(
            f"features are [ticker, session, feature] of {len(names)} features and usable rows [ticker, session], "
            f"found {features.shape} and {usable.shape}: compare a model with the features that it reads"
        )
    rows: Booleans = usable & np.isfinite(features).all(axis=2)
    return rows


def _rows_of(features: Floats32, rows: Booleans) -> _Rows:
    with_rows = rows.any(axis=0)
    places = np.cumsum(with_rows) - 1
    return _Rows(np.ascontiguousarray(features[rows].T), places[np.nonzero(rows)[1]], int(with_rows.sum()))


def _counts(rows: _Rows, distributions: tuple[ReferenceDistribution, ...]) -> list[Floats]:
    """Return the counts [session, edge] of each feature at the edges of its reference."""
    return [
        counts_at_edges(values, rows.session, rows.sessions, distribution.edges)
        for values, distribution in zip(rows.values, distributions, strict=True)
    ]


def _distances(distribution: ReferenceDistribution, reference: Array, share: Array) -> tuple[Array, Array]:
    bounds = distribution.deciles
    return stability_index(reference[..., bounds], share[..., bounds]), ks_distance(reference, share)


def _thresholds(
    rows: _Rows, distributions: tuple[ReferenceDistribution, ...], window_sessions: int, calibration: Calibration
) -> tuple[Floats, Floats]:
    """Return the thresholds of PSI and KS [feature].

    Maxima are compared as the logarithm of PSI and the log odds of KS, in which they are nearly symmetric. A KS of one
    is above every threshold: a feature that left the range of its reference has always drifted.
    """
    stretches = draw_stretches(rows.sessions, window_sessions + calibration.looks - 1, calibration)
    pairs = zip(distributions, _counts(rows, distributions), strict=True)
    maxima = [_largest_distances(distribution, counts, stretches, window_sessions) for distribution, counts in pairs]
    psi, ks = np.maximum(np.transpose(maxima, (1, 2, 0)), _TINY)  # [replication, feature]
    ks = np.minimum(ks, 1 - _TINY)
    both = joint_thresholds(np.concatenate([np.log(psi), np.log(ks / (1 - ks))], axis=1), calibration.false_alarms)
    log_psi, log_odds = np.split(both, 2)
    return np.exp(log_psi), np.minimum(1 / (1 + np.exp(-log_odds)), 1 - _TINY)


def _largest_distances(
    distribution: ReferenceDistribution, counts: Floats, stretches: Stretches, window_sessions: int
) -> tuple[Floats, Floats]:
    """Return the largest PSI and KS over the looks of each drawn stretch [replication] from its drawn reference."""
    drawn = stretches.reference @ counts  # [replication, edge]
    reference = (drawn / drawn[:, -1:])[:, None].astype(np.float32)
    counted = counts.astype(np.float32)
    largest = []
    for first in range(0, len(reference), _REPLICATIONS_AT_ONCE):
        part = slice(first, first + _REPLICATIONS_AT_ONCE)
        share = window_shares(counted[stretches.following[part]], window_sessions)
        psi, ks = _distances(distribution, reference[part], share)  # [replication, look]
        largest.append((psi.max(axis=1), ks.max(axis=1)))
    psi, ks = np.concatenate(largest, axis=1).astype(np.float64)
    return psi, ks
