"""The sanity suite's run: every number with its range, and red what lies outside."""

from pathlib import Path

import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from pipeline.sanity.checks import SanityCheck
from pipeline.tracking.check_records import checks_note, log_checks, start_sanity
from pipeline.tracking.store import Store

from .conftest import THIRD_PARTY, delivered, new_record

pytestmark = THIRD_PARTY

GOOD = SanityCheck("random walk, no skill", "seeds better", 1, 0, 4)
BAD = SanityCheck("planted return, share", "share of the optimum", 0.31, 0.75, 1.05, "Skill 2 %.")
NONE = SanityCheck("sine", "RMSE / best possible", float("nan"), 0.99, 1.1)


def test_every_number_and_range_is_a_metric(store: Store, outbox: Path, tmp_path: Path) -> None:
    record = new_record(store, outbox)
    start_sanity(record, 3, 20)
    log_checks(record, (GOOD, BAD, NONE), {"popular_accuracy.png": b"a picture"}, {"random walk": 4.5})
    record.end("FAILED", "out of range")
    run_id = delivered(store, record.journal)
    client = MlflowClient(tracking_uri=store.uri)
    run = client.get_run(run_id)
    metrics = {name.removeprefix("sanity/"): value for name, value in run.data.metrics.items()}
    assert (metrics["random_walk_no_skill/found"], metrics["random_walk_no_skill/passed"]) == (1, 1)
    assert (metrics["planted_return_share/found"], metrics["planted_return_share/passed"]) == (pytest.approx(0.31), 0)
    assert (metrics["planted_return_share/low"], metrics["planted_return_share/high"]) == (0.75, 1.05)
    assert metrics["sine/passed"] == 0
    assert "sine/found" not in metrics
    assert metrics["seconds/random_walk"] == 4.5
    assert run.data.params == {"seed": "3", "seeds": "20"}
    assert run.data.tags["tapecast.kind"] == "sanity"
    assert run.data.tags["tapecast.verdict"] == "1 of 3 in range"
    assert run.data.tags["tapecast.out_of_range"] == "planted return, share, sine"
    assert run.info.status == "FAILED"
    file = client.download_artifacts(run_id, "tables/sanity.json", str(tmp_path))
    assert pd.read_json(file, orient="split")["passed"].tolist() == [True, False, False]
    picture = client.download_artifacts(run_id, "figures/popular_accuracy.png", str(tmp_path))
    assert Path(picture).read_bytes() == b"a picture"


def test_red_is_what_is_out_of_range_and_nothing_else() -> None:
    note = checks_note((GOOD, BAD))
    assert note.startswith("**1 of 2 sanity checks are out of range.**")
    rows = {line.split(" &nbsp; | ")[0].lstrip("| "): line for line in note.splitlines() if line.startswith("| ")}
    assert "🔴 **OUT OF RANGE**" in rows["planted return, share"]
    assert "🔴" not in rows["random walk, no skill"]
    assert "🔴" not in checks_note((GOOD,))
    assert checks_note((GOOD,)).startswith("**All 1 sanity checks are in range.**")
