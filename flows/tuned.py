"""The result of a search: what --json prints, and what the terminal, MLflow and the Prefect artifacts show."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from flows.values import plain
from pipeline.tuning.outcome import Trial, ranked

Row = dict[str, Any]


@dataclass(frozen=True)
class Best:
    """The best trial."""

    trial: int
    validation_pinball: float
    values: Row


@dataclass(frozen=True)
class Tuned:
    """A finished search as plain JSON values; `trials` begin with the best."""

    status: str
    study: str
    storage: str
    tried: int  # over the study's life
    states: dict[str, int]
    chosen_among: int  # with those that were tried before the experiment was given to this search
    untried: Row  # settings of the experiment as given that lie outside the space: with any of them it is no trial
    best: Best
    reference_pinball: float  # of the last close with its volatility, on the same rows
    trials: list[Row]
    choosing: list[str]
    looked_until: str
    experiment: str
    calendar: str
    left_out: list[Row]
    stale: list[Row]
    note: str
    mlflow_run_id: str
    mlflow_url: str
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> Row:
        """Return the object that --json prints."""
        return asdict(self)


def described_trials(trials: Sequence[Trial]) -> list[Row]:
    """Return a row per trial, the best first."""
    return [
        {
            "trial": one.number,
            "state": one.state,
            "validation_pinball": None if one.loss is None else plain(one.loss),
            "by_fold": list(one.losses),
            "error": one.error or None,
            "values": dict(one.values),
        }
        for one in ranked(trials)
    ]


def trials_csv(trials: Sequence[Trial]) -> str:
    """Return a line per trial by number: state, losses and values."""
    names = sorted({name for one in trials for name in one.values})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "validation_pinball", "by_fold", "error", *names])
    for one in trials:
        by_fold = " ".join(map(repr, one.losses))
        writer.writerow([one.number, one.state, one.loss, by_fold, one.error, *(one.values.get(n) for n in names)])
    return text.getvalue()


def note_of(tuned: Tuned) -> tuple[str, ...]:
    """Return what was found in sentences."""
    best, gain = tuned.best, 1 - tuned.best.validation_pinball / tuned.reference_pinball
    states = ", ".join(f"{number} {state}" for state, number in tuned.states.items())
    return (
        f"Study {tuned.study}: trial {best.trial} is the best of {tuned.tried} ({states}), with a validation pinball "
        f"x1e4 of {1e4 * best.validation_pinball:.3f}; the last close has {1e4 * tuned.reference_pinball:.3f} there "
        f"({gain:+.2%} skill).",
        f"Chosen on {'; '.join(tuned.choosing)}. Nothing from {tuned.looked_until} on was looked at; a run of this "
        "experiment tests from there on.",
        "The best of many trials looks better on validation than it is: only the test of a run says how good.",
        *untried_in_words(tuned.untried),
    )


def untried_in_words(untried: Row) -> tuple[str, ...]:
    """Return a sentence where the experiment as it was given is no trial."""
    if not untried:
        return ()
    settings = ", ".join(f"{name} = {value}" for name, value in sorted(untried.items()))
    return (
        f"The experiment as it was given ({settings}) lies outside the search space: it is no trial of this study.",
    )
