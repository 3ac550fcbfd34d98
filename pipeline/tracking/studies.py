"""A study in MLflow: its run, and a child run per trial; a trial that is written is not written again."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pipeline.tracking.descriptions import MAX_TAG_LENGTH, NOTE_TAG
from pipeline.tracking.metrics import MetricValue, flat_params
from pipeline.tracking.runs import Record, RunStatus
from pipeline.tuning.trial import Trial, TrialStatus, best_trial, count_statuses, ranked_trials
from pipeline.wording import markdown_table, setting_value

TRIAL_TAG = "tapecast.trial"
STATUS: Mapping[TrialStatus, RunStatus] = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
SCALE = 1e4  # losses are written as pinball x 1e4, as everywhere
MAX_LISTED_TRIALS = 10


def log_trials(parent: Record, trials: Sequence[Trial]) -> None:
    """Write a run for every trial; one that is written already stays as it is."""
    for trial in trials:
        name = f"trial {trial.number}"
        record, began, ended = parent.child(name), _milliseconds(trial.began), _milliseconds(trial.ended)
        tags = {"tapecast.kind": "trial", "tapecast.state": trial.state, TRIAL_TAG: str(trial.number)}
        state = "" if trial.state == "complete" else f" ({trial.state})"
        record.start(f"{name}{state}", {**tags, NOTE_TAG: _note(trial)}, began, once=True)
        record.write(_trial_values(trial), flat_params(trial.values), at=ended)
        record.end(STATUS[trial.state], at=ended)


def log_study(
    record: Record, trials: Sequence[Trial], note: str, tags: Mapping[str, str], files: Mapping[str, str]
) -> None:
    """Write the results of the study so far into its run: counts, best loss, description, tags and files."""
    best = best_trial(trials)
    values = [MetricValue(f"trials/{state}", count, len(trials)) for state, count in count_statuses(trials).items()]
    values.append(MetricValue("trials/total", len(trials), len(trials)))
    if best and best.loss is not None:
        values.append(MetricValue("validation/best_pinball_x1e4", SCALE * best.loss, len(trials)))
    number = str(best.number) if best else ""
    described = {"tapecast.trials": str(len(trials)), "tapecast.best_trial": number, **tags}
    record.write(values, tags={**described, NOTE_TAG: f"{note}\n\n{_table(trials)}"})
    if files:
        with record.files() as folder:
            for name, text in files.items():
                (folder / name).write_text(text, encoding="utf-8")


def _trial_values(trial: Trial) -> list[MetricValue]:
    """Return the losses by tuning fold (step: the fold, from 0) and the trial's own."""
    folds = [MetricValue("validation/fold_pinball_x1e4", SCALE * loss, at) for at, loss in enumerate(trial.losses)]
    name = "pinball_x1e4" if trial.state == "complete" else "estimate_x1e4"
    return folds + ([] if trial.loss is None else [MetricValue(f"validation/{name}", SCALE * trial.loss)])


def _note(trial: Trial) -> str:
    results = {
        "complete": "Fitted on every tuning fold.",
        "pruned": f"Pruned after {len(trial.losses)} folds: its estimate was above the median of earlier trials.",
        "failed": f"**Failed:** {trial.error[:MAX_TAG_LENGTH]}",
    }
    return f"{results[trial.state]} `validation/fold_pinball_x1e4` has the validation loss by tuning fold (step)."


def _table(trials: Sequence[Trial]) -> str:
    """Return the best trials as a markdown table."""
    best = ranked_trials(trials)[:MAX_LISTED_TRIALS]
    names = sorted({name for trial in best for name in trial.values})
    head = ["trial", "state", "validation pinball x1e4", *names]
    rows = [
        [str(trial.number), trial.state, _loss(trial), *(setting_value(trial.values.get(name)) for name in names)]
        for trial in best
    ]
    return markdown_table(head, rows)


def _loss(trial: Trial) -> str:
    return "" if trial.loss is None else f"{SCALE * trial.loss:.3f}"


def _milliseconds(at: datetime) -> int:
    return int(at.timestamp() * 1000)
