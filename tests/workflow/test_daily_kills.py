"""A daily job that is killed again and again ends as one that was not: nothing repeated, lost or doubled."""

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import pandas as pd
import pytest
from mlflow.tracking import MlflowClient

from pipeline.operation.ledger.database import open_ledger
from pipeline.operation.ledger.issues import KEY
from pipeline.operation.ledger.reading import exported, listed
from pipeline.operation.ledger.record import latest_outcomes
from pipeline.operation.ledger.verification import verify
from pipeline.settings import Settings
from pipeline.workflow.ledger import heads_of_days, merged_heads
from tests.workflow.daily_job import DAYS, ROWS

KILLS = 30
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Jobs:
    """The process that runs jobs, by its pipes."""

    wanted: IO[str]
    answered: IO[str]

    def run(self, home: Path, kill_after: float | None = None) -> int:
        """Run the job in a home and return its exit status; after some seconds it is killed."""
        print(home, file=self.wanted, flush=True)
        child = int(self.answered.readline())
        if kill_after is not None:
            time.sleep(kill_after)
            with suppress(ProcessLookupError):  # it has ended
                os.kill(child, signal.SIGKILL)
        return int(self.answered.readline())


@pytest.fixture(scope="module")
def jobs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Jobs]:
    log = tmp_path_factory.mktemp("jobs") / "errors"
    command = [sys.executable, "-m", "tests.workflow.daily_job"]
    with log.open("w") as errors:
        server = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
    assert server.stdin is not None
    assert server.stdout is not None
    try:
        yield Jobs(server.stdin, server.stdout)
    finally:
        server.stdin.close()
        server.wait(timeout=30)
        server.stdout.close()


@dataclass(frozen=True)
class Left:
    """What a finished job leaves: forecasts and outcomes of the ledger, files by what they are, runs in MLflow."""

    rows: pd.DataFrame
    outcomes: pd.DataFrame
    files: dict[str, set[str]]
    runs: Counter[tuple[str, str]]


def left_in(home: Path) -> Left:
    settings = Settings(home=home)
    ledger = open_ledger(settings.ledger_url)
    assert verify(ledger, "daily", merged_heads(heads_of_days(settings.days / "daily"))[0]).fault is None
    assert len(listed(ledger, "daily", 100)) == len(DAYS)
    client = MlflowClient(tracking_uri=settings.mlflow_uri)
    experiment = client.get_experiment_by_name("tapecast")
    assert experiment is not None
    found = client.search_runs([experiment.experiment_id])
    return Left(
        exported(ledger, "daily").sort_values(list(KEY), ignore_index=True),
        latest_outcomes(ledger, "daily", tuple(ROWS), DAYS[0].item()),
        {
            "fits": {path.name for path in settings.fits.iterdir()},
            "versions": {path.name for path in (settings.models / "daily").iterdir() if path.name.isdigit()},
            "days": {path.name for path in (settings.days / "daily").iterdir()},
            "states": {path.name for path in (settings.models / "daily" / "states" / "XNYS").iterdir()},
            "waiting": {path.name for path in settings.outbox.iterdir() if path.is_dir()},
        },
        Counter((run.data.tags.get("tapecast.kind", "fold"), run.info.status) for run in found),
    )


def fits_made(home: Path) -> dict[str, int]:
    """The finished fits with the time they were made; the time of their folder is that of their last use."""
    return {path.parent.name: path.stat().st_mtime_ns for path in Settings(home=home).fits.glob("[!.]*/fit.json")}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_that_is_killed_thirty_times_ends_as_one_that_was_not(jobs: Jobs, tmp_path: Path) -> None:
    jobs.run(tmp_path / "warm")  # the first one in a new process is slower
    begun = time.monotonic()
    assert jobs.run(tmp_path / "undisturbed") == 0
    seconds = time.monotonic() - begun
    assert seconds < 20  # at most 6 on an idle machine
    expected = left_in(tmp_path / "undisturbed")
    assert expected.runs[("daily", "FINISHED")] == len(DAYS)
    assert expected.files["waiting"] == set()
    draws, killed, homes = np.random.default_rng(0), 0, 0
    while killed < KILLS:
        home, made = tmp_path / f"home{homes}", dict[str, int]()
        homes += 1
        while killed < KILLS:
            status = jobs.run(home, draws.uniform(0, seconds))
            assert status in (0, -signal.SIGKILL)
            killed += status == -signal.SIGKILL
            now = fits_made(home)
            assert made.items() <= now.items()  # a finished fit is never made again
            made = now
            if status == 0:
                break
        assert jobs.run(home) == 0
        found = left_in(home)
        pd.testing.assert_frame_equal(found.rows, expected.rows)
        pd.testing.assert_frame_equal(found.outcomes, expected.outcomes)
        assert found.files == expected.files
        assert found.runs == expected.runs
