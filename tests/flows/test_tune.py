"""The flow tune and its command: trials as nested MLflow runs, the best experiment as a file, killed and resumed."""

import json
import os
import signal
import subprocess
import time
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console

from flows.cli.check_commands import read_search, search_of
from flows.cli.check_rendering import show_tune
from flows.cli.experiment_file import read_experiment
from flows.definitions import build_flows
from flows.prefect_engine import PREFECT
from pipeline.errors import FitError, UsageError
from pipeline.experiment import Experiment
from pipeline.reporting.report import page_values
from pipeline.settings import Settings
from pipeline.tracking.descriptions import final_note, final_tags
from pipeline.tuning.trial import SearchSpec, Trial
from pipeline.workflow.progress import NoProgress
from pipeline.workflow.tune_result import TuneResult, trials_csv
from tests.panels import NOW, TINY, changed
from tests.reporting.outcomes import small_outcome

from .command import SMALL_TOML, TAPECAST, Command

pytestmark = [pytest.mark.timeout(300)]

TABLE = {
    "network.hidden_size": {"low": 2, "high": 8},
    "training.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
}
SEARCH = SearchSpec(trials=7, folds=2, space=TABLE)


@pytest.fixture(scope="module")
def tuned(prefect_server: str, home: Path) -> TuneResult:
    """A search of seven trials that was stopped after three."""
    tune = build_flows(NoProgress(), PREFECT).tune
    tune(TINY, SEARCH.model_copy(update={"trials": 3}))
    return tune(TINY, SEARCH)


def client() -> MlflowClient:
    return MlflowClient(tracking_uri=Settings().mlflow_uri)


def test_trials_are_nested_runs_each_once(tuned: TuneResult, home: Path) -> None:
    parent = client().get_run(tuned.mlflow_run_id)
    children = client().search_runs([parent.info.experiment_id], f"tags.mlflow.parentRunId = '{tuned.mlflow_run_id}'")
    runs = {int(run.data.tags["tapecast.trial"]): run for run in children}
    assert sorted(runs) == list(range(7))
    every = client().search_runs([parent.info.experiment_id])
    assert len(every) == 8, "the search went on in the run that it had begun"
    for row in tuned.trials:
        run = runs[row["trial"]]
        assert run.info.status == {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}[row["state"]]
        assert run.data.tags["tapecast.state"] == row["state"]
        assert run.data.params == {name: str(value) for name, value in row["values"].items()}
        steps = client().get_metric_history(run.info.run_id, "validation/fold_pinball_x1e4")
        assert [point.value for point in steps] == pytest.approx([1e4 * loss for loss in row["by_fold"]])
        assert [point.step for point in steps] == list(range(len(row["by_fold"])))
        name = "pinball" if row["state"] == "complete" else "estimate"
        assert run.data.metrics[f"validation/{name}_x1e4"] == pytest.approx(1e4 * row["validation_pinball"])
        assert run.info.end_time >= run.info.start_time


def test_the_studys_run_has_the_best_and_the_number_of_trials(tuned: TuneResult, home: Path) -> None:
    run = client().get_run(tuned.mlflow_run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["tapecast.kind"] == "tune"
    assert run.data.tags["tapecast.study"] == tuned.study
    assert (run.data.tags["tapecast.trials"], run.data.metrics["trials/total"]) == ("7", 7)
    assert run.data.tags["tapecast.best_trial"] == str(tuned.best.trial)
    assert run.data.metrics["validation/best_pinball_x1e4"] == pytest.approx(1e4 * tuned.best.validation_pinball)
    assert sum(run.data.metrics[f"trials/{state}"] for state in ("complete", "pruned", "failed")) == 7
    assert "is the best of 7" in run.data.tags["mlflow.note.content"]
    names = {file.path for file in client().list_artifacts(tuned.mlflow_run_id)}
    assert {"best.toml", "trials.csv"} <= names


def test_the_best_experiment_is_read_by_run_and_carries_the_number_of_trials(tuned: TuneResult, home: Path) -> None:
    path = Path(tuned.experiment)
    assert path == home / "tuned" / f"{tuned.study}.toml"
    best = read_experiment(path, {})
    assert (best.trials, tuned.tried, tuned.total_trials) == (7, 7, 7)
    assert best.network.hidden_size == tuned.best.values["network.hidden_size"]
    assert best.training.learning_rate == tuned.best.values["training.learning_rate"]
    assert best.source == TINY.source
    assert best.folds.minimum_train_sessions > TINY.folds.minimum_train_sessions, "its test begins behind what chose"
    outcome = replace(small_outcome(), experiment=best)
    assert "chosen among 7 that were tried" in str(page_values(outcome)["chosen_from"])
    assert final_tags(outcome)["tapecast.trials"] == "7"
    assert "chosen among 7 that were tried" in final_note("run", outcome, [])
    plain = small_outcome()
    assert page_values(plain)["chosen_from"] == ""
    assert "tapecast.trials" not in final_tags(plain)


def test_the_summary_is_json_and_a_table(tuned: TuneResult) -> None:
    again = json.loads(json.dumps(tuned.as_json(), allow_nan=False))
    assert again["best"]["validation_pinball"] == min(
        row["validation_pinball"] for row in again["trials"] if row["state"] == "complete"
    )
    assert again["status"] == "ok"
    console = Console(width=80, record=True)
    show_tune(console, tuned)
    shown = console.export_text()
    assert f"{1e4 * tuned.best.validation_pinball:.3f} │ hidden_size" in shown
    assert f"trial {tuned.best.trial} is the best of 7" in " ".join(shown.split())
    assert "learning_rate" in shown
    assert f"tapecast run --experiment {tuned.experiment}" in shown


def test_a_finished_search_makes_no_further_trials(tuned: TuneResult, home: Path) -> None:
    again = build_flows(NoProgress(), PREFECT).tune(TINY, SEARCH.model_copy(update={"trials": 2}))
    assert again.tried == 7
    assert again.mlflow_run_id == tuned.mlflow_run_id
    assert again.trials == tuned.trials


def test_another_experiment_is_another_study_unless_it_is_named(tuned: TuneResult, home: Path) -> None:
    other, one_trial = changed(TINY, seed=5), SEARCH.model_copy(update={"trials": 1})
    found = build_flows(NoProgress(), PREFECT).tune(other, one_trial)
    assert found.study != tuned.study
    with pytest.raises(UsageError, match=f"study {tuned.study} was begun with other settings"):
        build_flows(NoProgress(), PREFECT).tune(other, one_trial.model_copy(update={"study": tuned.study}))


def test_an_experiment_outside_the_space_is_no_trial_and_not_counted(tuned: TuneResult, home: Path) -> None:
    assert tuned.untried == {}
    assert "outside the search space" not in " ".join(tuned.sentences)
    base = changed(TINY, network=TINY.network.model_copy(update={"hidden_size": 37}), trials=30)
    found = build_flows(NoProgress(), PREFECT).tune(base, SEARCH.model_copy(update={"trials": 2}))
    assert found.untried == {"network.hidden_size": 37}
    assert all(row["values"]["network.hidden_size"] != 37 for row in found.trials)
    assert (found.tried, found.total_trials) == (2, 32), (
        "30 that a former search tried, the base among them, and 2 here"
    )
    assert read_experiment(Path(found.experiment), {}).trials == 32
    assert "that was given (network.hidden_size = 37) lies outside the search space" in " ".join(found.sentences)


def test_a_search_in_which_no_trial_is_completed_fails_with_the_reason(home: Path, prefect_server: str) -> None:
    table = {"training.learning_rate": [1e30, 1e31]}
    with pytest.raises(FitError, match=r"no trial of study .* was completed: .*not finite"):
        build_flows(NoProgress(), PREFECT).tune(TINY, SearchSpec(trials=2, folds=1, space=table))
    runs = client().search_runs(["1"], "tags.`tapecast.kind` = 'tune' and attributes.status = 'FAILED'")
    assert any("no trial of study" in run.data.tags.get("tapecast.error", "") for run in runs)


def test_trials_as_csv_have_a_line_each() -> None:
    trials = (
        Trial(0, "complete", {"a": 1}, (0.5, 0.25), 0.375, "", NOW, NOW),
        Trial(1, "failed", {"b": "x"}, (), None, "of, no", NOW, NOW),
    )
    assert trials_csv(trials).splitlines() == [
        "trial,state,validation_pinball,by_fold,error,a,b",
        "0,complete,0.375,0.5 0.25,,1,",
        '1,failed,,,"of, no",,x',
    ]


def test_the_file_may_have_a_table_search(tmp_path: Path) -> None:
    path = tmp_path / "x.toml"
    path.write_text('seeds = 2\n[search]\nnetwork.cell = ["lstm", "gru"]\n')
    experiment, table = read_search(path, {"horizons": 3})
    assert (experiment.seeds, experiment.horizons) == (2, 3)
    assert table == {"network": {"cell": ["lstm", "gru"]}}
    assert read_search(None, {}) == (Experiment(), {})
    for text, expected in (("search = 3", "expected a table"), ("sedes = 1", "unknown key sedes; did you mean seeds")):
        path.write_text(text)
        with pytest.raises(UsageError, match=f"x.toml: .*{expected}"):
            read_search(path, {})


def test_options_of_a_search_are_checked() -> None:
    assert search_of({"trials": 3, "study": None, "space": {}}) == SearchSpec(trials=3)
    with pytest.raises(UsageError, match=r"--study: .*found '\.\./x'"):
        search_of({"study": "../x"})


def finished(home: Path) -> int:
    """How many trials MLflow has."""
    path = home / "mlflow" / "mlflow.db"
    if not path.exists():
        return 0
    found = MlflowClient(tracking_uri=f"sqlite:///{path}").search_runs(["1"], "tags.`tapecast.kind` = 'trial'")
    return len(found)


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_killed_search_continues_where_it_was_stopped(tmp_path: Path) -> None:
    tapecast = Command(tmp_path / "home")
    file = tmp_path / "x.toml"
    file.write_text(
        SMALL_TOML.replace("workers = 1", "workers = 2")
        + '[search]\n"network.hidden_size" = {low = 2, high = 8}\nnetwork.cell = ["lstm", "gru"]\n'
    )
    arguments: list[str | Path] = ["tune", "--experiment", file, "--trials", "11", "--study", "mine", "--folds", "1"]
    run = subprocess.Popen(
        [TAPECAST, *map(str, arguments)],
        env=tapecast.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        end = time.monotonic() + 200
        while finished(tapecast.home) < 5 and run.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        assert run.poll() is None, "it was over before it could be killed"
    finally:
        os.killpg(run.pid, signal.SIGKILL)
        run.wait(timeout=20)
    status, found = tapecast.json(*arguments)
    assert status == 0
    assert (found["tried"], len(found["trials"])) == (11, 11)
    assert sorted(row["trial"] for row in found["trials"]) == list(range(11))
    assert finished(tapecast.home) == 11
    best = tomllib.loads(Path(found["experiment"]).read_text())
    assert (best["trials"], best["network"]["hidden_size"]) == (11, found["best"]["values"]["network.hidden_size"])
    status, refused = tapecast.json("tune", "--study", "a/b")
    assert (status, refused["status"]) == (2, "failed")
