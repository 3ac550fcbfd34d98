"""An audit's run: counts, result, table."""

from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from pipeline.audit.origins import AuditOrigin
from pipeline.audit.result import AuditResult, Difference
from pipeline.audit.stage_outputs import STAGES
from pipeline.audit.tampering import TAMPERINGS, Tampering
from pipeline.experiment import Experiment
from pipeline.tracking.check_records import audit_note, log_audit, short_audit_result
from pipeline.tracking.runs import start_run
from pipeline.tracking.store import Store, open_client

from .conftest import THIRD_PARTY, delivered, new_record

pytestmark = THIRD_PARTY

CLEAN = AuditResult(
    calendar="XNYS",
    origins=(AuditOrigin(np.datetime64("2011-03-04"), "amid the test of 2010-10-01", holed=True),),
    forecasters=("network",),
    training_steps=16,
    counts=dict.fromkeys(STAGES, 100),
    differences=(),
    seconds=1.0,
)
FOUND = Difference("features", "feature centred", "GOOG", "2011-03-04", "2011-03-04", "garbage", "0.1", "0.2")
LEAKING = replace(CLEAN, calendar="XBOM", differences=(FOUND,))


def test_the_results_of_every_calendar_are_written(store: Store, outbox: Path, tmp_path: Path) -> None:
    record = new_record(store, outbox)
    start_run(record, "audit", Experiment())
    log_audit(record, (CLEAN, LEAKING))
    run_id = delivered(store, record.journal)
    data = open_client(store.uri).get_run(run_id).data
    assert data.metrics["audit/features"] == 200
    assert data.metrics["audit/leaks"] == 1
    assert data.metrics["audit/origins"] == 2
    assert data.tags["tapecast.verdict"] == "leak in features"
    assert "Leak in stage `features`: `feature centred` of GOOG at 2011-03-04" in data.tags["mlflow.note.content"]
    file = open_client(store.uri).download_artifacts(run_id, "tables/audit.json", str(tmp_path))
    table = pd.read_json(file, orient="split")
    assert list(table["result"]).count("LEAK") == 1
    assert set(table["calendar"]) == {"XNYS", "XBOM"}


def test_an_audit_result_in_a_few_words() -> None:
    assert short_audit_result([CLEAN]) == "no leak found"
    assert short_audit_result([CLEAN, LEAKING]) == "leak in features"


@pytest.mark.parametrize("tampering", TAMPERINGS)
def test_every_tampering_is_named_in_the_note(tampering: Tampering) -> None:
    leaking = replace(CLEAN, differences=(replace(FOUND, tampering=tampering),))
    assert tampering in audit_note([leaking])


def test_the_tamperings_are_those_of_their_type() -> None:
    assert get_args(Tampering) == TAMPERINGS
