"""Steady stretches: what a reference record would give over the next sessions if nothing changed, by block bootstrap.

A statistic that is looked at after every session alarms when it exceeds its threshold once. So the thresholds bound
the maximum over all looks of a stretch, and over all statistics that are looked at together. Volatility clusters:
blocks are long, so that a drawn stretch has calm and turbulent times as the reference has them.
"""

from dataclasses import dataclass, replace
from math import ceil

import numpy as np

from pipeline.arrays import Floats, Indices
from pipeline.evaluation.significance.resampling import resampled_counts, resampled_sessions

MIN_REFERENCE_SESSIONS = 120
"""Of fewer sessions no threshold is made. Thresholds of less than some 1,000 alarm more often than they say."""
WINDOW_SESSIONS = 60
MARGIN = 1.5
"""Factor on the excess over the mean. One record has few turbulent spells, and drawing from it again shows no worse
one: with a factor of 1, a nominal 5 % was 12 % for the loss, 14 % for coverage and 22 % for features, on GARCH-t worlds
after a reference of 2,000 sessions. With 1.5 it is 4 to 7 % (`python -m tests.benchmarks.monitoring`)."""


@dataclass(frozen=True)
class Calibration:
    """How thresholds are calibrated: an alarm within `looks` steady sessions has about the probability `false_alarms`.

    Blocks of 60 sessions gave the fewest false alarms of features (22 %, against 25 % with 20 and 125 and 26 % with
    250 sessions, before the margin): shorter ones break up a turbulent spell, longer ones leave too few to draw from.
    """

    looks: int = 250
    false_alarms: float = 0.05
    block_sessions: int = 60
    replications: int = 500
    seed: int = 0

    def for_horizon(self, horizon: int) -> "Calibration":
        """Return the same with blocks of two horizons at least: the outcomes of neighbouring origins overlap."""
        return replace(self, block_sessions=max(self.block_sessions, 2 * horizon))


YEARLY = Calibration()


@dataclass(frozen=True)
class Stretches:
    """Draws from a reference record: a reference anew, and a stretch that follows it, independent of each other."""

    reference: Floats  # how often each session is drawn [replication, session]
    following: Indices  # which session is drawn [replication, place]


def draw_stretches(sessions: int, length: int, calibration: Calibration) -> Stretches:
    """Return draws of `length` sessions that follow a reference of `sessions`, and of the reference itself.

    Both are drawn: what a threshold has to exceed is the difference of two samples, not of one from its population.
    """
    block = min(calibration.block_sessions, sessions)
    seeds = 2 * calibration.seed, 2 * calibration.seed + 1
    reference = resampled_counts(sessions, block, seeds[0], calibration.replications)
    return Stretches(reference, resampled_sessions(sessions, block, seeds[1], (calibration.replications, length)))


def enough_sessions(sessions: int, window_sessions: int = 0) -> bool:
    """Return whether a reference of as many sessions has thresholds: 120, and two windows."""
    return sessions >= max(MIN_REFERENCE_SESSIONS, 2 * window_sessions)


def joint_thresholds(maxima: Floats, false_alarms: float, margin: float = MARGIN) -> Floats:
    """Return a threshold per statistic [statistic] of maxima over a stretch [replication, statistic].

    Each is the mean plus the same number of standard deviations (the studentised step of Romano and Wolf 2005): that
    which any statistic exceeds in the share `false_alarms` of the replications, times the margin.
    """
    mean, spread = maxima.mean(axis=0), maxima.std(axis=0)
    excess = np.divide(maxima - mean, spread, out=np.zeros_like(maxima), where=spread > 0).max(axis=1)
    place = min(ceil((1 - false_alarms) * (len(excess) + 1)), len(excess)) - 1
    thresholds: Floats = mean + margin * np.sort(excess)[place] * spread
    return thresholds


def trailing_means(values: Floats, window_sessions: int) -> Floats:
    """Return the mean of each `window_sessions` consecutive sessions [..., look] of values [..., session].

    Without a look where there are fewer sessions. Each window is summed in the order of its sessions, so that it does
    not depend on what came before it.
    """
    looks = max(values.shape[-1] - window_sessions + 1, 0)
    total = np.zeros((*values.shape[:-1], looks))
    for place in range(window_sessions):
        total += values[..., place : place + looks]
    return total / window_sessions
