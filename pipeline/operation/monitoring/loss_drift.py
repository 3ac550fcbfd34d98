"""Loss drift: a cumulative sum of what the published forecast loses more than a baseline, against its reference record.

One observation per session: the mean over tickers of the loss of the published forecast less that of the baseline,
standardised by the mean and the standard deviation of the reference record (the backtest's). The one-sided cumulative
sum of Page (1954) rises while the loss is larger than there, and is zero otherwise.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import numpy as np

from pipeline.arrays import Floats
from pipeline.errors import UsageError
from pipeline.operation.monitoring.stretches import (
    YEARLY,
    Calibration,
    draw_stretches,
    enough_sessions,
    joint_thresholds,
)

ALLOWANCE = 0.25
"""Standard deviations per session that do not count: half of the rise to be found (Page 1954)."""

_ROUNDING = 1e-6

LossStatus = Literal["steady", "drift", "not enough sessions", "constant reference"]


@dataclass(frozen=True)
class LossReference:
    """The reference record in short, and the threshold of the sum; NaN where the record does not suffice."""

    mean: float
    standard_deviation: float
    threshold: float  # in standard deviations of a session
    sessions: int


@dataclass(frozen=True)
class CusumState:
    """The sum after some sessions; a place is the number of sessions before, -1 where there is none."""

    value: float = 0.0  # in standard deviations of a session
    sessions: int = 0
    rising_since: int = -1  # place of the first session after the sum was zero: the estimate of when the change came
    alarm_since: int = -1  # place of the session from which the sum has been above its threshold


START = CusumState()


@dataclass(frozen=True)
class LossDrift:
    """The sum after each session [session], its threshold, and the state after the last session."""

    path: Floats
    threshold: float
    state: CusumState
    status: LossStatus


def loss_reference(differences: Floats, horizon: int, calibration: Calibration = YEARLY) -> LossReference:
    """Return the reference of loss differences by session [session], NaN where there was no outcome.

    The threshold is exceeded within `calibration.looks` steady sessions, from a sum of zero, with the probability
    `calibration.false_alarms`, by block bootstrap of the reference; blocks are at least two horizons long, as the
    outcomes of neighbouring origins overlap. Raises UsageError where the horizon is less than one.
    """
    if horizon < 1:
        raise UsageError(f"a horizon is one session or more, found {horizon}: give that of the losses")
    known = differences[np.isfinite(differences)]
    mean, deviation = (float(known.mean()), float(known.std())) if len(known) else (np.nan, np.nan)
    constant = len(known) > 0 and known.min() == known.max()
    enough = enough_sessions(len(known)) and not constant
    threshold = _threshold(known, calibration.for_horizon(horizon)) if enough else np.nan
    return LossReference(mean, 0.0 if constant else deviation, threshold, len(known))


def advance(state: CusumState, difference: float, reference: LossReference) -> CusumState:
    """Return the state after one more session: max(0, S + z - k) (Page 1954), z the standardised difference.

    A session without an outcome (NaN) leaves the sum as it is, and so does a reference without a threshold.
    """
    place, following = state.sessions, state.sessions + 1
    if not (np.isfinite(difference) and np.isfinite(reference.threshold)):
        return CusumState(state.value, following, state.rising_since, state.alarm_since)
    value = float(_next_sum(state.value, (difference - reference.mean) / reference.standard_deviation))
    return CusumState(
        value,
        following,
        _since(state.rising_since, place, value > 0),
        _since(state.alarm_since, place, value > reference.threshold),
    )


def loss_drift(differences: Floats, reference: LossReference, state: CusumState = START) -> LossDrift:
    """Return the drift over loss differences [session], which continue after `state`."""
    states: Sequence[CusumState] = list(
        accumulate(
            differences.tolist(), lambda before, difference: advance(before, difference, reference), initial=state
        )
    )
    path = np.array([after.value for after in states[1:]], dtype=np.float64)
    return LossDrift(path, reference.threshold, states[-1], _status(reference, states[-1]))


def _status(reference: LossReference, state: CusumState) -> LossStatus:
    if not enough_sessions(reference.sessions):
        return "not enough sessions"
    if not np.isfinite(reference.threshold):
        return "constant reference"
    return "drift" if state.alarm_since >= 0 else "steady"


def _since(before: int, place: int, holds: bool) -> int:
    """Return the place from which a condition holds without a break, -1 where it does not."""
    if not holds:
        return -1
    return place if before < 0 else before


def _next_sum(value: Floats | float, standardised: Floats | float) -> Floats:
    following: Floats = np.maximum(0.0, value + standardised - ALLOWANCE)
    return following


def _threshold(differences: Floats, calibration: Calibration) -> float:
    """Return the threshold of the largest sum over steady stretches that follow a reference drawn anew."""
    stretches = draw_stretches(len(differences), calibration.looks, calibration)
    centred = differences - differences.mean()
    mean = stretches.reference @ centred / len(centred)
    deviation = np.sqrt(np.maximum(stretches.reference @ centred**2 / len(centred) - mean**2, 0.0))
    whole = centred.std()
    deviation = np.where(deviation > _ROUNDING * whole, deviation, whole)  # a draw of one value over and over
    standardised = (centred[stretches.following] - mean[:, None]) / deviation[:, None]
    largest = value = np.zeros(len(mean))
    for session in standardised.T:
        value = _next_sum(value, session)
        largest = np.maximum(largest, value)
    return float(
        np.expm1(joint_thresholds(np.log1p(largest)[:, None], calibration.false_alarms)[0])
    )  # skewed otherwise
