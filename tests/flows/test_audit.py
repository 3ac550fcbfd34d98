"""The command audit: a result per stage, MLflow; and a failure where a stage reads later bars."""

import json
from functools import partial
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.audit.origins import AuditSpec
from pipeline.errors import ExitStatus, SanityError
from tests.audit.leaks import PLANTED

from .command import Command

# One worker of pytest runs them all: the server takes its time to start.
ON_A_SERVER = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # mlflow uses what pandas 3 will drop; nothing of ours is meant
    pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes:pandas.errors.Pandas4Warning"),
]


def on_a_server(test: object) -> object:
    for mark in reversed(ON_A_SERVER):
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def in_process(home: Path, prefect_server: str) -> Path:
    return home


@on_a_server
def test_an_audit_without_a_leak_is_reported_and_recorded(tapecast: Command, small: Path) -> None:
    status, summary = tapecast.json("audit", "--experiment", small, "--origins", "3")
    assert status == ExitStatus.OK
    assert summary["status"] == "ok"
    assert summary["verdict"].startswith("No leak found: 3 origins x 2 tamperings, 12 stages and ")
    assert [row["result"] for row in summary["stages"]] == ["same"] * 12
    assert len(summary["origins"]) == 3
    assert any("Not shown" in remark for remark in summary["remarks"])
    client = MlflowClient(tracking_uri=f"sqlite:///{tapecast.home / 'mlflow' / 'mlflow.db'}")
    run = client.get_run(summary["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["tapecast.kind"] == "audit"
    assert run.data.tags["tapecast.verdict"] == "no leak found"
    assert run.data.metrics["audit/leaks"] == 0
    assert run.data.metrics["audit/early_stop"] > 0
    assert "No leak found" in run.data.tags["mlflow.note.content"]


@on_a_server
def test_a_leak_fails_the_flow_and_is_recorded(
    in_process: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.cli.experiment_file import read_experiment  # noqa: PLC0415
    from flows.definitions import build_flows  # noqa: PLC0415
    from flows.prefect_engine import PREFECT  # noqa: PLC0415  brings Prefect
    from pipeline.workflow import checks  # noqa: PLC0415
    from pipeline.workflow.progress import NoProgress  # noqa: PLC0415

    class PrintedProgress(NoProgress):
        def message(self, text: str) -> None:
            print(text)

    small = {"kind": "synthetic", "process": "random_walk", "sessions": 620, "tickers": 3}
    experiment = read_experiment(None, {"source": small, "network": {"hidden_size": 4}})
    monkeypatch.setattr(checks, "audit", partial(checks.audit, steps=PLANTED["back-fill of bars"].steps))
    with pytest.raises(SanityError, match="Leak in stage `adjust`: `open`"):
        build_flows(PrintedProgress(), PREFECT).audit(experiment, AuditSpec(origins=7, training_steps=4))
    assert "LEAK" in capsys.readouterr().out
    client = MlflowClient(tracking_uri=f"sqlite:///{in_process / 'mlflow' / 'mlflow.db'}")
    found = client.get_experiment_by_name("tapecast")
    assert found is not None
    (run,) = client.search_runs([found.experiment_id], "tags.`tapecast.kind` = 'audit'")
    assert run.info.status == "FAILED"
    assert run.data.tags["tapecast.verdict"] == "leak in adjust"
    assert run.data.metrics["audit/leaks"] == 1


def test_wrong_use_is_refused_before_anything_starts(tapecast: Command) -> None:
    result = tapecast("audit", "--origins", "0", "--json")
    assert result.returncode == ExitStatus.USAGE
    assert json.loads(result.stdout)["status"] == "failed"
    result = tapecast("audit", "--path", "/nowhere/at.csv")
    assert result.returncode == ExitStatus.USAGE
    assert "no file or folder" in result.stderr
