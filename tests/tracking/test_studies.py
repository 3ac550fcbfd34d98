"""Trials of a study in MLflow: a child run for every state in which a trial can end."""

from datetime import UTC, datetime, timedelta
from typing import get_args

import pytest

from pipeline.tracking.store import Store, open_client
from pipeline.tracking.studies import STATUS, continue_run, log_study, log_trials, trial_runs
from pipeline.tuning.trial import Trial, TrialStatus
from tests.panels import TINY

from .conftest import THIRD_PARTY

pytestmark = THIRD_PARTY
BEGAN = datetime(2026, 10, 1, tzinfo=UTC)


@pytest.mark.parametrize("state", get_args(TrialStatus))
def test_every_state_of_a_trial_is_a_run_and_a_row(store: Store, state: TrialStatus) -> None:
    trial = Trial(0, state, {"network.hidden_size": 8}, (0.004,), 0.004, "no memory", BEGAN, BEGAN + timedelta(hours=1))
    parent = continue_run(store, TINY, None)
    log_trials(store, parent, [trial])
    log_study(store, parent, [trial], "A study.", {}, {})
    client = open_client(store.uri)
    (run,) = trial_runs(client, store, parent)
    assert run.info.status == STATUS[state]
    assert run.data.tags["tapecast.state"] == state
    assert run.data.metrics["validation/fold_pinball_x1e4"] == pytest.approx(40)
    study = client.get_run(parent).data
    assert study.metrics[f"trials/{state}"] == 1
    assert f"| 0 &nbsp; | {state} &nbsp; | 40.000" in study.tags["mlflow.note.content"]
