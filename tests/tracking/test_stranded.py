"""Runs that a killed process left RUNNING: ended by the next one, and no others."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from pipeline.processes import this_process
from pipeline.tracking.runs import PROCESS, STRANDED, end_stranded_runs, finish_run
from pipeline.tracking.store import Store

from .conftest import THIRD_PARTY

pytestmark = THIRD_PARTY
START_AND_DIE = """
import os, sys
from mlflow.tracking import MlflowClient
from pipeline.tracking.runs import create_run
from pipeline.tracking.store import Store
store = Store(sys.argv[1], sys.argv[2])
print(create_run(MlflowClient(store.uri), store, "killed", {"mlflow.note.content": "Begun."}), flush=True)
os._exit(9)
"""


def run_of(client: MlflowClient, store: Store, process: dict[str, object] | None) -> str:
    tags = {} if process is None else {PROCESS: json.dumps(process)}
    return str(client.create_run(store.experiment_id, tags=tags).info.run_id)


def test_only_the_run_of_a_process_that_is_gone_is_ended(store: Store) -> None:
    died = subprocess.run(
        [sys.executable, "-c", START_AND_DIE, store.uri, store.experiment_id],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert died.returncode == 9, died.stderr
    client = MlflowClient(store.uri)
    mine = this_process()
    elsewhere = run_of(client, store, {**mine, "host": "elsewhere", "process": 2**22 + 1})
    others = [run_of(client, store, mine), elsewhere, run_of(client, store, None)]
    killed = died.stdout.strip()
    assert end_stranded_runs(store) == [killed]
    found = client.get_run(killed)
    assert found.info.status == "KILLED"
    assert found.data.tags["tapecast.error"] == STRANDED
    assert "Begun." in found.data.tags["mlflow.note.content"]
    assert {client.get_run(other).info.status for other in others} == {"RUNNING"}
    assert end_stranded_runs(store) == []
    for run in others:
        finish_run(store, run, "FINISHED")


@pytest.mark.parametrize("process", [{"process": 2**22 + 1}, {"began": 1.0}])
def test_another_process_of_the_same_number_is_another(store: Store, process: dict[str, object]) -> None:
    run_id = run_of(MlflowClient(store.uri), store, {**this_process(), **process})
    assert end_stranded_runs(store) == [run_id]
