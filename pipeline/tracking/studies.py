"""A study in MLflow: its run, and a child run per trial; a trial that is written is not written again."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime

from mlflow.entities import Run, ViewType
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from pipeline.experiment import Experiment
from pipeline.processes import this_process
from pipeline.tracking.descriptions import MAX_TAG_LENGTH, NOTE_TAG
from pipeline.tracking.metrics import MetricValue, flat_params
from pipeline.tracking.runs import PROCESS, RunStatus, end_run, start_run, write_batches
from pipeline.tracking.store import Store, found_runs, open_client, translated
from pipeline.tuning.trial import Trial, TrialStatus, best_trial, count_statuses, ranked_trials
from pipeline.wording import markdown_table, setting_value

TRIAL_TAG, ERROR_TAG = "tapecast.trial", "tapecast.error"
STATUS: Mapping[TrialStatus, RunStatus] = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
SCALE = 1e4  # losses are written as pinball x 1e4, as everywhere
MAX_LISTED_TRIALS = 10


def continue_run(store: Store, experiment: Experiment, former: str | None) -> str:
    """Return the id of the study's run, RUNNING: the former one, or a new one where this store does not have it."""
    with translated(store.uri, "continue the study's run"):
        client = open_client(store.uri)
        if former and _usable(client, store, former):
            client.set_tag(
                former, PROCESS, json.dumps(this_process())
            )  # first, so that no other run ends it as stranded
            client.update_run(former, status="RUNNING")
            if ERROR_TAG in client.get_run(former).data.tags:  # the reason why it ended; it continues now
                client.delete_tag(former, ERROR_TAG)
            return former
    return start_run(store, "tune", experiment)


def log_trials(store: Store, parent: str, trials: Sequence[Trial]) -> None:
    """Write a run for every trial that has none yet; one that was half written is written again."""
    with translated(store.uri, f"write the trials of run {parent}"):
        client = open_client(store.uri)
        written = {run.data.tags[TRIAL_TAG]: run for run in trial_runs(client, store, parent)}
        for trial in trials:
            former = written.get(str(trial.number))
            if former is None or former.info.status == "RUNNING":
                _write_trial(client, store, parent, trial, former)


def log_study(
    store: Store, parent: str, trials: Sequence[Trial], note: str, tags: Mapping[str, str], files: Mapping[str, str]
) -> None:
    """Write the results of the study so far into its run: counts, best loss, description, tags and files."""
    with translated(store.uri, f"write run {parent}"):
        client, best = open_client(store.uri), best_trial(trials)
        values = [MetricValue(f"trials/{state}", count, len(trials)) for state, count in count_statuses(trials).items()]
        values.append(MetricValue("trials/total", len(trials), len(trials)))
        if best and best.loss is not None:
            values.append(MetricValue("validation/best_pinball_x1e4", SCALE * best.loss, len(trials)))
        all_tags = {
            "tapecast.trials": str(len(trials)),
            "tapecast.best_trial": str(best.number) if best else "",
            **tags,
        }
        cut = {name: text[:MAX_TAG_LENGTH] for name, text in all_tags.items() if text}
        write_batches(client, parent, values, tags={**cut, NOTE_TAG: f"{note}\n\n{_table(trials)}"})
        for name, text in files.items():
            client.log_text(parent, text, name)


def trial_runs(client: MlflowClient, store: Store, parent: str) -> list[Run]:
    """Return the runs of a study's trials."""
    query = f"tags.`mlflow.parentRunId` = '{parent}'"
    children = found_runs(client, store.experiment_id, query, ViewType.ACTIVE_ONLY)
    return [run for run in children if TRIAL_TAG in run.data.tags]


def _usable(client: MlflowClient, store: Store, run_id: str) -> bool:
    """Return whether a run exists in this experiment and is not deleted."""
    try:
        info = client.get_run(run_id).info
    except MlflowException:
        return False
    return bool(info.lifecycle_stage == "active" and info.experiment_id == store.experiment_id)


def _write_trial(client: MlflowClient, store: Store, parent: str, trial: Trial, former: Run | None) -> None:
    run_id = former.info.run_id if former else _create(client, store, parent, trial)
    write_batches(client, run_id, _trial_values(trial), flat_params(trial.values))
    end_run(client, run_id, STATUS[trial.state], _milliseconds(trial.ended))


def _create(client: MlflowClient, store: Store, parent: str, trial: Trial) -> str:
    tags = {
        "mlflow.parentRunId": parent,
        "tapecast.kind": "trial",
        "tapecast.state": trial.state,
        TRIAL_TAG: str(trial.number),
        NOTE_TAG: _note(trial),
    }
    name = f"trial {trial.number}" + ("" if trial.state == "complete" else f" ({trial.state})")
    run = client.create_run(store.experiment_id, _milliseconds(trial.began), tags, name)
    return str(run.info.run_id)


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
