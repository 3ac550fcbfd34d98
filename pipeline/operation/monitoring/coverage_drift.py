"""Coverage drift: the share of outcomes within the 80 % and 90 % bands lately, against the reference record.

One observation per session: the mean over tickers, as the tickers of a session miss together. Too few outcomes within
a band and too many are both drift: bands that are too wide say less than they could.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.arrays import Booleans, Floats
from pipeline.errors import UsageError
from pipeline.evaluation.scores import BANDS
from pipeline.operation.monitoring.stretches import (
    WINDOW_SESSIONS,
    YEARLY,
    Calibration,
    draw_stretches,
    enough_sessions,
    joint_thresholds,
    trailing_means,
)

WATCHED_BANDS = (80, 90)

CoverageStatus = Literal["steady", "too narrow", "too wide", "not enough sessions"]


@dataclass(frozen=True)
class CoverageReference:
    """The coverage of the reference record and the bounds of a window's [band]; NaN where it does not suffice."""

    coverage: Floats
    low: Floats
    high: Floats
    window_sessions: int
    sessions: int


@dataclass(frozen=True)
class BandDrift:
    """The coverage of one band over the window, and its bounds."""

    band: int
    coverage: float
    reference: float
    low: float
    high: float
    status: CoverageStatus


def session_coverage(quantiles: Floats, outcome: Floats) -> Floats:
    """Return the share of tickers within each watched band [band, session], edges included, NaN without an outcome.

    Of quantiles [ticker, session, level] and outcomes [ticker, session], NaN where unknown.
    """
    known = np.isfinite(outcome) & np.isfinite(quantiles).all(axis=-1)
    inside = np.array([_inside(quantiles, outcome, band) & known for band in WATCHED_BANDS])
    number = known.sum(axis=0)
    share: Floats = np.divide(
        inside.sum(axis=1), number, out=np.full((len(inside), len(number)), np.nan), where=number > 0
    )
    return share


def _inside(quantiles: Floats, outcome: Floats, band: int) -> Booleans:
    low, high = BANDS[band]
    inside: Booleans = (quantiles[..., low] <= outcome) & (outcome <= quantiles[..., high])
    return inside


def coverage_reference(
    coverage: Floats, horizon: int, window_sessions: int = WINDOW_SESSIONS, calibration: Calibration = YEARLY
) -> CoverageReference:
    """Return the reference of coverage by session [band, session], NaN where there was no outcome.

    Within `calibration.looks` steady sessions any window of any band leaves its bounds, on either side, with the
    probability `calibration.false_alarms`, by block bootstrap of the reference; blocks are at least two horizons long.
    Raises UsageError where the bands are not those watched, or a horizon or window is less than one session.
    """
    _check(coverage, horizon, window_sessions)
    known = coverage[:, np.isfinite(coverage).all(axis=0)]
    sessions = known.shape[1]
    if not enough_sessions(sessions, window_sessions):
        nothing = np.full(len(coverage), np.nan)
        return CoverageReference(nothing, nothing, nothing, window_sessions, sessions)
    below, above = _largest_deviations(known, window_sessions, calibration.for_horizon(horizon))
    mean = known.mean(axis=1)
    return CoverageReference(mean, mean - below, mean + above, window_sessions, sessions)


def coverage_path(coverage: Floats, reference: CoverageReference) -> Floats:
    """Return the coverage of each window of sessions with an outcome [band, look], of coverage [band, session].

    Raises UsageError where the bands are not those watched.
    """
    _check(coverage, 1, reference.window_sessions)
    return trailing_means(coverage[:, np.isfinite(coverage).all(axis=0)], reference.window_sessions)


def coverage_drift(coverage: Floats, reference: CoverageReference) -> tuple[BandDrift, ...]:
    """Return the drift of each watched band over the last sessions with an outcome of coverage [band, session].

    "too narrow" means too few outcomes within the band, "too wide" too many. Raises UsageError where the bands are
    not those watched.
    """
    path = coverage_path(coverage, reference)
    last = path[:, -1] if path.shape[1] else np.full(len(coverage), np.nan)
    rows = zip(WATCHED_BANDS, last, reference.coverage, reference.low, reference.high, strict=True)
    return tuple(_band_drift(band, *map(float, numbers)) for band, *numbers in rows)


def _band_drift(band: int, coverage: float, reference: float, low: float, high: float) -> BandDrift:
    return BandDrift(band, coverage, reference, low, high, _status(coverage, reference, low, high))


def _status(coverage: float, reference: float, low: float, high: float) -> CoverageStatus:
    if not np.isfinite(coverage + reference):
        return "not enough sessions"
    if coverage < low:
        return "too narrow"
    return "too wide" if coverage > high else "steady"


def _largest_deviations(coverage: Floats, window_sessions: int, calibration: Calibration) -> tuple[Floats, Floats]:
    """Return how far a window may lie below and above the reference [band], from steady stretches."""
    sessions = coverage.shape[1]
    stretches = draw_stretches(sessions, window_sessions + calibration.looks - 1, calibration)
    drawn = coverage @ stretches.reference.T / sessions  # [band, replication]
    windows = trailing_means(coverage[:, stretches.following], window_sessions)  # [band, replication, look]
    deviations = windows - drawn[..., None]
    maxima = np.concatenate([-deviations.min(axis=-1), deviations.max(axis=-1)]).T  # [replication, side x band]
    below, above = np.split(joint_thresholds(maxima, calibration.false_alarms), 2)
    return below, above


def _check(coverage: Floats, horizon: int, window_sessions: int) -> None:
    if coverage.ndim != 2 or len(coverage) != len(WATCHED_BANDS):
        raise UsageError(
            f"coverage is [band, session] of the bands {WATCHED_BANDS}, found {coverage.shape}: use session_coverage"
        )
    if min(horizon, window_sessions) < 1:
        raise UsageError(f"a horizon and a window are one session or more, found {horizon} and {window_sessions}")
