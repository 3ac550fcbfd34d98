"""What a search found: every trial as a plain value, and the best of them; free of optuna."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pipeline.tuning.space import Value

State = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """One specification that was tried; `loss` is the validation pinball, of a pruned one the estimate of it."""

    number: int  # from 0, in the order in which they were asked for
    state: State
    values: Mapping[str, Value]
    losses: tuple[float, ...]  # by choosing fold, as far as the trial went
    loss: float | None
    error: str
    began: datetime
    ended: datetime


def best_of(trials: Sequence[Trial]) -> Trial | None:
    """Return the complete trial of the smallest loss, the earliest of equals; None where none is complete."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.loss is not None]
    return min(complete, key=lambda trial: (trial.loss, trial.number)) if complete else None


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials, the best first: complete ones by loss, then pruned ones, then failed ones."""
    order = ("complete", "pruned", "failed")
    return sorted(trials, key=lambda trial: (order.index(trial.state), trial.loss or 0.0, trial.number))


def counts(trials: Sequence[Trial]) -> dict[State, int]:
    """Return how many trials ended in which state."""
    found = Counter(trial.state for trial in trials)
    return {"complete": found["complete"], "pruned": found["pruned"], "failed": found["failed"]}
