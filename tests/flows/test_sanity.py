"""The command sanity: numbers with their ranges, MLflow; red and a failure where one is out of range."""

import io
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient
from rich.console import Console

from flows.cli.check_rendering import check_table
from pipeline.errors import ExitStatus, SanityError
from pipeline.sanity.checks import SanityCheck
from tests.sanity.forecasters import NOTHING_LEARNED

from .command import Command

# One worker of pytest runs them all: the server takes its time to start.
ON_A_SERVER = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    # mlflow uses what pandas 3 will drop; nothing of ours is meant
    pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes:pandas.errors.Pandas4Warning"),
]
NAMES = {
    *("sine", "random walk, no skill", "random walk, no direction"),
    *("shuffled returns, no skill", "shuffled returns, no direction"),
    *("planted return, found", "planted return, share", "planted volatility, found", "planted volatility, share"),
    *("no leak", "planted leaks", "leak, seen in scores"),
}
SHARES = {"sine", "planted return, found", "planted return, share", "planted volatility, share"}


def on_a_server(test: object) -> object:
    for mark in reversed(ON_A_SERVER):
        test = mark(test)
    return test


@on_a_server
def test_the_suite_is_reported_and_recorded(tapecast: Command) -> None:
    status, summary = tapecast.json("sanity", "--seeds", "5")
    assert (status, summary["status"]) == (ExitStatus.OK, "ok")
    assert summary["verdict"] == "All 12 sanity checks are in range."
    rows = {row["check"]: row for row in summary["checks"]}
    assert set(rows) == NAMES
    assert all(row["passed"] and row["low"] <= row["found"] <= row["high"] for row in rows.values())
    client = MlflowClient(tracking_uri=f"sqlite:///{tapecast.home / 'mlflow' / 'mlflow.db'}")
    run = client.get_run(summary["mlflow_run_id"])
    assert run.info.status == "FINISHED"
    assert run.data.tags["tapecast.verdict"] == "12 of 12 in range"
    assert run.data.metrics["sanity/planted_return_share/found"] == pytest.approx(
        rows["planted return, share"]["found"], rel=1e-3
    )


@on_a_server
def test_a_pipeline_that_learns_nothing_fails_the_flow_and_is_recorded_red(
    home: Path, prefect_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flows.definitions import build_flows  # noqa: PLC0415
    from flows.prefect_engine import PREFECT  # noqa: PLC0415  brings Prefect
    from pipeline.workflow import checks  # noqa: PLC0415
    from pipeline.workflow.progress import NoProgress  # noqa: PLC0415

    shown: list[SanityCheck] = []

    def show(found: Sequence[SanityCheck], _url: str) -> None:
        shown.extend(found)

    monkeypatch.setattr(checks, "sanity", partial(checks.sanity, steps=NOTHING_LEARNED))
    with pytest.raises(SanityError, match=r"sanity checks are out of range\. sine: RMSE"):
        build_flows(NoProgress(), PREFECT, show).sanity(0, 5)
    out = {check.name for check in shown if not check.passed}
    assert out >= SHARES
    assert {check.name for check in shown} == NAMES
    client = MlflowClient(tracking_uri=f"sqlite:///{home / 'mlflow' / 'mlflow.db'}")
    found = client.get_experiment_by_name("tapecast")
    assert found is not None
    runs = client.search_runs([found.experiment_id], "tags.`tapecast.kind` = 'sanity' and attributes.status = 'FAILED'")
    (run,) = runs
    assert run.data.metrics["sanity/sine/passed"] == 0
    assert run.data.metrics["sanity/no_leak/passed"] == 1
    assert "🔴" in run.data.tags["mlflow.note.content"]
    assert set(run.data.tags["tapecast.out_of_range"].split(", ")) >= {"sine"}


def printed(check: SanityCheck) -> str:
    output = io.StringIO()
    Console(file=output, force_terminal=True, color_system="standard", width=120).print(check_table([check]))
    return output.getvalue()


def test_a_number_out_of_range_is_red_on_the_terminal() -> None:
    good, bad = SanityCheck("a", "share", 0.9, 0.75, 1.05), SanityCheck("a", "share", 0.2, 0.75, 1.05)
    red = "\x1b[31m"
    assert red in printed(bad)
    assert "OUT OF RANGE" in printed(bad)
    assert red not in printed(good)
    assert "OUT OF RANGE" not in printed(good)


def test_wrong_use_is_refused_before_anything_starts(tapecast: Command) -> None:
    result = tapecast("sanity", "--seeds", "4", "--json")
    assert result.returncode == ExitStatus.USAGE
    assert json.loads(result.stdout)["status"] == "failed"
