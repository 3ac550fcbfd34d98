"""The specification of a search, and its trials as plain values; free of optuna."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, Field

from pipeline.tuning.space import Value

STUDY_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"


class SearchSpec(BaseModel, frozen=True, extra="forbid"):
    """A search on the validation ranges of an experiment's first folds."""

    trials: int = Field(30, ge=1, le=100_000, description="Trials of the study in the end, earlier ones included")
    study: str | None = Field(
        None,
        pattern=STUDY_NAME,
        description="Name of the study to begin or continue; empty: derived from what is searched",
    )
    folds: int = Field(
        3,
        ge=1,
        description="Number K of tuning folds, the first ones: trials are validated on them; the rest is for testing",
    )
    seeds: int = Field(1, ge=1, le=100, description="Networks per fold in a trial: their mean is validated")
    space: Mapping[str, Any] = Field(
        default_factory=dict,
        description="Search space: dotted name = {low, high, log, step} or a list of choices; empty: the default",
    )


TrialStatus = Literal["complete", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """One specification that was tried; `loss` is the validation pinball loss, of a pruned trial its estimate."""

    number: int  # from 0, in the order in which the study proposed them
    state: TrialStatus
    values: Mapping[str, Value]
    losses: tuple[float, ...]  # by tuning fold, as far as the trial went
    loss: float | None
    error: str
    began: datetime
    ended: datetime


def best_trial(trials: Sequence[Trial]) -> Trial | None:
    """Return the complete trial with the smallest loss, the earliest of equals; None where none is complete."""
    complete = [trial for trial in trials if trial.state == "complete" and trial.loss is not None]
    return min(complete, key=lambda trial: (trial.loss, trial.number)) if complete else None


def ranked_trials(trials: Sequence[Trial]) -> list[Trial]:
    """Return the trials, the best first: complete ones by loss, then pruned ones, then failed ones."""
    order = ("complete", "pruned", "failed")
    return sorted(trials, key=lambda trial: (order.index(trial.state), trial.loss or 0.0, trial.number))


def count_statuses(trials: Sequence[Trial]) -> dict[TrialStatus, int]:
    """Return the number of trials by state."""
    counted = Counter(trial.state for trial in trials)
    return {"complete": counted["complete"], "pruned": counted["pruned"], "failed": counted["failed"]}
