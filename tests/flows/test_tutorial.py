"""The command tutorial: a table of results, figures, MLflow; and a failure where a mark is missed."""

import json
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from flows.cli.check_commands import read_terms
from pipeline.errors import ExitStatus, UsageError

from .command import Command

# One worker of pytest runs them all: the server takes its time to start.
ON_A_SERVER = [pytest.mark.slow, pytest.mark.timeout(300)]

HOPELESS = 'hidden_size = 1\ninput_size = 1\nnonlinearity = "relu"\ndropout = 0.95\n'


def on_a_server(test: object) -> object:
    for mark in reversed(ON_A_SERVER):
        test = mark(test)
    return test


@on_a_server
def test_a_tutorial_is_learned_reported_and_recorded(tapecast: Command, tmp_path: Path) -> None:
    status, summary = tapecast.json("tutorial", "relu-sequence", "--out", tmp_path / "figures")
    assert status == ExitStatus.OK
    (row,) = summary["tutorials"]
    assert (row["tutorial"], row["measure"], row["mark"], row["passed"]) == ("relu-sequence", "mse", 0.001, True)
    assert row["found"] <= row["mark"]
    assert sorted(path.name for path in (tmp_path / "figures").iterdir()) == ["relu-sequence.png", "results.csv"]
    client = MlflowClient(tracking_uri=f"sqlite:///{tapecast.home / 'mlflow' / 'mlflow.db'}")
    run = client.get_run(summary["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["tapecast.verdict"] == "1 of 1 passed"


@on_a_server
def test_a_missed_mark_fails_and_the_table_is_printed_all_the_same(tapecast: Command, tmp_path: Path) -> None:
    (tmp_path / "terms.toml").write_text(HOPELESS)
    result = tapecast("tutorial", "ohlc", "--terms", tmp_path / "terms.toml", "--json")
    assert result.returncode == ExitStatus.OUR_FAULT, result.stderr
    failure = json.loads(result.stdout)
    assert failure["status"] == "failed"
    assert "tutorials missed their mark" in failure["error"]
    assert "relative rmse" in result.stderr
    assert "NO" in result.stderr
    client = MlflowClient(tracking_uri=f"sqlite:///{tapecast.home / 'mlflow' / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("tapecast")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "attributes.run_name = 'tutorial ohlc'")
    assert [run.info.status for run in runs] == ["FAILED"]
    assert "missed their mark" in runs[0].data.tags["tapecast.error"]


def test_an_unknown_tutorial_or_term_is_refused_before_anything_starts(tapecast: Command, tmp_path: Path) -> None:
    assert tapecast("tutorial", "sine-noisy").returncode == ExitStatus.USAGE
    (tmp_path / "terms.toml").write_text("batch_first = false\nhiden_size = 3\n")
    with pytest.raises(UsageError) as error:
        read_terms(tmp_path / "terms.toml")
    assert "batch_first: Input should be True, found False" in str(error.value)
    assert "hiden_size: Extra inputs are not permitted" in str(error.value)
    assert "the terms are ticker, input_size, hidden_size" in str(error.value)
