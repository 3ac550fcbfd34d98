"""Trials of a study in MLflow: a child run for every state in which a trial can end."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest

from pipeline.tracking.outbox import Header, open_journal
from pipeline.tracking.runs import Record, start_run
from pipeline.tracking.store import Store, open_client
from pipeline.tracking.studies import STATUS, log_study, log_trials
from pipeline.tuning.trial import Trial, TrialStatus
from tests.panels import TINY

from .conftest import THIRD_PARTY, delivered, new_record

pytestmark = THIRD_PARTY
BEGAN = datetime(2026, 10, 1, tzinfo=UTC)


@pytest.mark.parametrize("state", get_args(TrialStatus))
def test_every_state_of_a_trial_is_a_run_and_a_row(store: Store, outbox: Path, state: TrialStatus) -> None:
    trial = Trial(0, state, {"network.hidden_size": 8}, (0.004,), 0.004, "no memory", BEGAN, BEGAN + timedelta(hours=1))
    record = new_record(store, outbox)
    start_run(record, "tune", TINY)
    for _ in range(2):  # the second changes nothing
        log_trials(record, [trial])
    log_study(record, [trial], "A study.", {}, {"trials.csv": "trial"})
    parent, client = delivered(store, record.journal), open_client(store.uri)
    (run,) = client.search_runs([store.experiment_id], f"tags.mlflow.parentRunId = '{parent}'")
    assert [file.path for file in client.list_artifacts(parent)] == ["trials.csv"]
    assert len(client.get_metric_history(run.info.run_id, "validation/fold_pinball_x1e4")) == 1
    assert (run.info.start_time, run.info.end_time) == (1790812800000, 1790816400000)
    assert run.info.status == STATUS[state]
    assert run.data.tags["tapecast.state"] == state
    assert run.data.metrics["validation/fold_pinball_x1e4"] == pytest.approx(40)
    study = client.get_run(parent).data
    assert study.metrics[f"trials/{state}"] == 1
    assert f"| 0 &nbsp; | {state} &nbsp; | 40.000" in study.tags["mlflow.note.content"]


def test_a_study_goes_on_in_its_run_and_a_half_written_trial_is_written_again(store: Store, outbox: Path) -> None:
    trials = [
        Trial(number, "complete", {"network.hidden_size": number}, (0.1,), 0.1, "", BEGAN, BEGAN) for number in range(3)
    ]
    client = open_client(store.uri)

    def go_on(known: list[Trial]) -> str:
        record = Record(open_journal(outbox, Header.new("study", store.uri, store.experiment, "of this id")))
        start_run(record, "tune", TINY)
        log_trials(record, known)
        record.end("FINISHED")
        return delivered(store, record.journal)

    parent = go_on(trials[:2])
    half = client.search_runs([store.experiment_id], f"tags.mlflow.parentRunId = '{parent}'")[0]
    client.update_run(half.info.run_id, status="RUNNING")
    assert go_on(trials) == parent
    runs = client.search_runs([store.experiment_id], f"tags.mlflow.parentRunId = '{parent}'")
    assert sorted(run.data.tags["tapecast.trial"] for run in runs) == ["0", "1", "2"]
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert half.info.run_id in {run.info.run_id for run in runs}
    client.delete_run(parent)
    assert go_on(trials) != parent
