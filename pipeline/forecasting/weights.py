"""The weights of a combination, by session, and how much of a band comes from each forecaster."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Floats, Floats32, Sessions
from pipeline.forecasting.conformal import OFF_MEDIAN


@dataclass(frozen=True, eq=False)
class Weights:
    """The weights with which the members of a combination went into it, on the mean of the tickers; they sum to 1.

    `answered` is the share of the tickers that each of them forecast: it is silent at the others.
    """

    members: tuple[str, ...]
    sessions: Sessions  # [session]
    by_session: Floats32  # [session, horizon, level, member]
    answered: Floats32  # [session, horizon, member]

    @property
    def horizons(self) -> int:
        """H, the number of horizons."""
        return int(self.by_session.shape[1])

    @property
    def last(self) -> "Weights":
        """The weights of the last session alone."""
        return Weights(self.members, self.sessions[-1:], self.by_session[-1:], self.answered[-1:])

    def of_band(self, horizon: int) -> Floats:
        """Return the mean weight over the levels off the median [session, member]: what the band is made of."""
        shares: Floats = self.by_session[:, horizon - 1, OFF_MEDIAN].astype(np.float64).mean(axis=1)
        return shares

    def smoothed(self, horizon: int) -> Floats:
        """Return the mean of the shares over the last h sessions [session, member]: of all copies, which take turns."""
        summed = np.cumsum(self.of_band(horizon), axis=0)
        summed[horizon:] -= summed[:-horizon].copy()
        means: Floats = summed / np.minimum(np.arange(1, len(summed) + 1), horizon)[:, None]
        return means

    def mean_share(self, horizon: int) -> dict[str, float]:
        """Return the mean share of each member in the band of a horizon, the largest first."""
        means = dict(zip(self.members, self.of_band(horizon).mean(axis=0).tolist(), strict=True))
        return dict(sorted(means.items(), key=lambda item: -item[1]))


def joined(parts: Sequence[Weights]) -> Weights:
    """Return the weights of parts one after the other; a member that a part lacks is silent there."""
    members = tuple(dict.fromkeys(member for part in parts for member in part.members))
    return Weights(
        members,
        np.concatenate([part.sessions for part in parts]),
        np.concatenate([_for_members(part.by_session, part, members) for part in parts]),
        np.concatenate([_for_members(part.answered, part, members) for part in parts]),
    )


def _for_members(values: Floats32, part: Weights, members: tuple[str, ...]) -> Floats32:
    """Return values [..., member] of a part for all members, zero where it lacks one."""
    result = np.zeros((*values.shape[:-1], len(members)), dtype=np.float32)
    result[..., [members.index(member) for member in part.members]] = values
    return result
