"""A sequential test of two forecasters: e-processes, which may be read after every session without a penalty.

The null hypothesis is that in no session the first forecaster is expected to lose more than the other, given what was
known when both were issued. An e-process is the wealth of a gambler who begins with one and bets against it: under the
null it reaches 1 / level with a probability of at most `level`, ever (Ville 1939).
"""

import numpy as np

from pipeline.arrays import Booleans, Floats
from pipeline.forecasters.forecaster import LEVELS

STAKES = (0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625)
"""Shares of what may be bet without ruin. The gambler divides the wealth over all: a mixture of e-processes is one."""


def least_difference(quantiles: Floats, others: Floats) -> Floats:
    """Return the smallest possible mean over levels of pinball loss less that of others [row], both [row, level].

    Known at issue: at level tau the difference of the losses of q and p lies between -tau (q - p) and
    (1 - tau) (q - p), whatever the outcome, so at most max(tau, 1 - tau) |q - p| from zero (Choe and Ramdas 2023).
    """
    levels, gap = np.array(LEVELS), quantiles - others
    least: Floats = np.minimum(-levels * gap, (1 - levels) * gap).mean(axis=1)
    return least


def wealth(differences: Floats, least: Floats) -> Floats:
    """Return the e-process after each session [session], of loss differences and their least possible values [session].

    prod (1 + s d_t / b_t) with b_t = -least, mixed over the stakes s (Choe and Ramdas 2023, with bets in place of
    their exponential bound). A session in which nothing can be lost, as both forecasts are the same, bets nothing.
    """
    at_risk = least < 0
    gain = np.divide(differences, -least, out=np.zeros_like(differences), where=at_risk)  # [session], at least -1
    growth = np.log1p(np.array(STAKES)[:, None] * gain).cumsum(axis=1)  # [stake, session]
    mixed: Floats = np.exp(np.logaddexp.reduce(growth, axis=0) - np.log(len(STAKES)))
    return mixed


def interleaved_wealth(differences: Floats, least: Floats, horizon: int) -> Floats:
    """Return the e-process of a horizon after the outcome of each origin [session]: the mean of `horizon` processes.

    Each has every `horizon`-th origin, so that the outcome of its last bet is known before the next forecast is issued
    (Arnold, Henzi and Ziegel 2023). Their mean is an e-value at any time that was decided on `horizon` - 1 sessions
    before.
    """
    streams = np.ones((horizon, len(differences)))
    for k in range(min(horizon, len(differences))):
        own = wealth(differences[k::horizon], least[k::horizon])
        streams[k, k:] = np.repeat(own, horizon)[: len(differences) - k]
    mean: Floats = streams.mean(axis=0)
    return mean


def e_rejected(evidence: Floats, level: float) -> Booleans:
    """Return which null hypotheses are rejected [hypothesis] by e-values, at a false discovery rate of `level`.

    The e-BH procedure of Wang and Ramdas (2022, eq. 5), under any dependence: the k largest, for the largest k whose
    k-th is at least K / (k level).
    """
    order = np.argsort(-evidence, kind="stable")
    ranks = np.arange(1, len(evidence) + 1)
    enough = np.flatnonzero(evidence[order] >= len(evidence) / (ranks * level))
    rejected = np.zeros(len(evidence), dtype=bool)
    rejected[order[: enough[-1] + 1 if len(enough) else 0]] = True
    return rejected
