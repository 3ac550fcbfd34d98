"""The result of a search for settings: JSON, tables, and what was found in sentences."""

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from pipeline.tuning.trial import Trial, ranked_trials
from pipeline.wording import counts_in_words, skill
from pipeline.workflow.result import JsonObject, plain


@dataclass(frozen=True)
class BestTrial:
    """The best trial of a study."""

    trial: int
    validation_pinball: float
    values: JsonObject


@dataclass(frozen=True)
class TuneResult:
    """A finished search as plain JSON values; `trials` begin with the best."""

    status: str
    study: str
    storage: str
    tried: int  # over the study's life
    states: dict[str, int]
    total_trials: int  # with those that were tried before the experiment was given to this search
    untried: JsonObject  # settings of the experiment that lie outside the search space: with any of them it is no trial
    best: BestTrial
    reference_pinball: float  # of the last close with its volatility, on the same rows
    trials: list[JsonObject]
    validation_ranges: list[str]
    tuning_data_until: str
    experiment: str
    calendar: str
    calendar_mismatches: list[JsonObject]
    excluded: list[JsonObject]
    stale: list[JsonObject]
    note: str
    mlflow_run_id: str | None
    mlflow_url: str | None
    recorded: bool
    seconds: dict[str, float] = field(default_factory=dict)

    def as_json(self) -> JsonObject:
        """Return the object that --json prints."""
        return asdict(self)

    def tables(self) -> Mapping[str, list[JsonObject]]:
        """Return the trials, the best first, their settings as columns."""
        rows = [{**row, **row["values"], "by_fold": str(row["by_fold"])} for row in self.trials]
        return {"trials": [{name: value for name, value in row.items() if name != "values"} for row in rows]}

    @property
    def sentences(self) -> tuple[str, ...]:
        """What was found, in sentences; the first says which trial is the best."""
        best, gain = self.best, 1 - self.best.validation_pinball / self.reference_pinball
        states = counts_in_words(self.states)
        return (
            f"Study {self.study}: trial {best.trial} is the best of {self.tried} ({states}), with a validation pinball "
            f"x1e4 of {1e4 * best.validation_pinball:.3f}; the last close has {1e4 * self.reference_pinball:.3f} there "
            f"({skill(gain)} skill).",
            f"Chosen on {'; '.join(self.validation_ranges)}. No session from {self.tuning_data_until} on was used; a "
            "run of this experiment tests from there on.",
            "The best of many trials looks better on validation than it is: only the test of a run shows how good.",
            *untried_sentence(self.untried),
        )


def untried_sentence(untried: JsonObject) -> tuple[str, ...]:
    """Return a sentence where the experiment that the search started from is no trial of it."""
    if not untried:
        return ()
    settings = ", ".join(f"{name} = {value}" for name, value in sorted(untried.items()))
    return (f"The experiment that was given ({settings}) lies outside the search space: it is no trial of this study.",)


def trial_rows(trials: Sequence[Trial]) -> list[JsonObject]:
    """Return a row per trial, the best first."""
    return [
        {
            "trial": trial.number,
            "state": trial.state,
            "validation_pinball": None if trial.loss is None else plain(trial.loss),
            "by_fold": list(trial.losses),
            "error": trial.error or None,
            "values": dict(trial.values),
        }
        for trial in ranked_trials(trials)
    ]


def trials_csv(trials: Sequence[Trial]) -> str:
    """Return a line per trial by number: state, losses and values."""
    names = sorted({name for trial in trials for name in trial.values})
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["trial", "state", "validation_pinball", "by_fold", "error", *names])
    for trial in trials:
        by_fold = " ".join(map(repr, trial.losses))
        writer.writerow(
            [trial.number, trial.state, trial.loss, by_fold, trial.error, *(trial.values.get(n) for n in names)]
        )
    return text.getvalue()
