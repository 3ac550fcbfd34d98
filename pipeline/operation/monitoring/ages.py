"""Ages of what a forecast rests on, in completed sessions of its calendar, and their limits."""

from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Sessions
from pipeline.errors import UsageError

MODEL_LIMIT_SESSIONS = 275
"""A year of sessions, the default between two refits, and a month that a refit may be late."""
DATA_LIMIT_SESSIONS = 1
"""A source may deliver a bar one session late."""


@dataclass(frozen=True)
class Age:
    """An age and the largest one that needs no attention, in sessions."""

    sessions: int
    limit_sessions: int

    @property
    def exceeded(self) -> bool:
        """Return whether the age is above its limit."""
        return self.sessions > self.limit_sessions


def model_age(sessions: Sessions, trained_at: np.datetime64, limit_sessions: int = MODEL_LIMIT_SESSIONS) -> Age:
    """Return the age of a model: how many of the completed `sessions` [session] come after the date `trained_at`.

    The date is that of the last session before the model's fold began, or of the day on which it was trained. Raises
    UsageError where it is missing or the sessions do not ascend.
    """
    return Age(_sessions_after(sessions, trained_at), limit_sessions)


def data_age(sessions: Sessions, last_bar: np.datetime64, limit_sessions: int = DATA_LIMIT_SESSIONS) -> Age:
    """Return the age of data: how many of the completed `sessions` [session] come after the date of the last bar.

    `sessions` are the calendar's, not those that have bars. Raises UsageError where the date is missing or the
    sessions do not ascend.
    """
    return Age(_sessions_after(sessions, last_bar), limit_sessions)


def _sessions_after(sessions: Sessions, day: np.datetime64) -> int:
    if np.isnat(day) or np.isnat(sessions).any():
        raise UsageError("an age needs dates, found none (NaT): give the date of the last bar or of the training")
    if not (sessions[1:] > sessions[:-1]).all():
        raise UsageError("an age counts ascending sessions, found others: give the sessions of the calendar in order")
    return len(sessions) - int(np.searchsorted(sessions, day.astype(sessions.dtype), side="right"))
