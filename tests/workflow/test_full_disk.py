"""A home on a disk that is full, or can only be read: the forecast is shown, and a day issued whole or not at all."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipeline.errors import LedgerError, UsageError
from pipeline.operation.ledger.database import open_ledger
from pipeline.operation.ledger.issues import ON_TIME
from pipeline.operation.ledger.verification import verify
from pipeline.settings import Settings
from pipeline.workflow.daily import DailyPlan, daily
from pipeline.workflow.daily_result import DailyResult
from pipeline.workflow.forecast import forecast
from pipeline.workflow.ledger import heads_of_days, merged_heads
from pipeline.workflow.progress import NoProgress, StageTimer
from pipeline.workflow.publishing import PublishPlan
from pipeline.workflow.result import CalendarSummary
from pipeline.workflow.run import RunPlan, run
from pipeline.workflow.run_context import new_context
from pipeline.workflow.summaries import result_of
from tests.panels import TINY, changed
from tests.workflow.builders import Messages
from tests.workflow.daily_job import DAYS, EXPERIMENT, context_at, evening, live_through

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:For backward compatibility, 'str' dtypes are included by select_dtypes"),
]
DISK_MIB = 24


def mounted(*arguments: str) -> bool:
    return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small disk of its own, whose home has a published model."""
    folder = tmp_path_factory.mktemp("disk")
    if not mounted("-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)):
        pytest.skip("nothing can be mounted here")
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("TAPECAST_HOME", str(folder / "home"))
            plan = RunPlan(publish_as=PublishPlan("synthetic"))
            run(new_context("run", None, NoProgress()), changed(TINY, seeds=1), plan)
            yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def forecast_now() -> CalendarSummary:
    (summary,) = result_of(forecast(new_context("forecast", None, NoProgress()), (), None)).calendars
    return summary


def write_without_end(path: Path) -> None:
    with path.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)


def test_a_forecast_is_shown_though_the_disk_is_full(disk: Path) -> None:
    expected = forecast_now()
    assert expected.recorded
    fill = disk / "fill"
    with pytest.raises(OSError, match="No space left"):
        write_without_end(fill)
    summary = forecast_now()
    fill.unlink()
    assert summary.forecasts == expected.forecasts
    assert not summary.recorded
    lost, unrecorded = summary.warnings
    assert lost.startswith("The report could not be written")
    assert "No space left" in lost
    assert unrecorded.startswith("This run is not in MLflow yet: ")
    assert unrecorded.endswith(f"It could not be kept in {Settings().outbox} either: MLflow will not have it.")
    assert forecast_now().recorded


def test_a_forecast_is_shown_from_a_home_that_can_only_be_read_and_a_run_is_refused(
    disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = forecast_now()
    assert mounted("--bind", str(disk), str(tmp_path))
    try:
        assert mounted("-o", "remount,bind,ro", str(tmp_path))
        monkeypatch.setenv("TAPECAST_HOME", str(tmp_path / "home"))
        summary = forecast_now()
        with pytest.raises(UsageError, match="Read-only file system"):
            new_context("run", None, NoProgress())
    finally:
        subprocess.run(["umount", "--lazy", str(tmp_path)], check=False)
    assert summary.forecasts == expected.forecasts
    assert (summary.recorded, summary.report) == (False, None)
    assert "Read-only file system" in summary.warnings[-1]


# --- The daily use case ---

DAY = DAYS[1]


@pytest.fixture
def issued_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small disk of its own, whose home has a model and one day's issue in its ledger."""
    folder = tmp_path / "small"
    folder.mkdir()
    if not mounted("-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)):
        pytest.skip("nothing can be mounted here")
    try:
        monkeypatch.setenv("TAPECAST_HOME", str(folder / "home"))
        monkeypatch.setenv(
            "TAPECAST_TRACKING_URI", "http://127.0.0.1:9"
        )  # no server: what is recorded is not the point
        live_through(DAYS[:1])
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


def fill(disk: Path, free_kib: int = 0) -> Path:
    """A file that takes what is left of a disk, less some of it."""
    path = disk / "fill"
    with pytest.raises(OSError, match="No space left"):
        write_without_end(path)
    os.truncate(path, path.stat().st_size - 1024 * free_kib)
    return path


def ledger_of() -> tuple[int, int, str | None]:
    """How many entries and rows the ledger has, and what is wrong with it."""
    found = verify(
        open_ledger(Settings().ledger_url), "daily", merged_heads(heads_of_days(Settings().days / "daily"))[0]
    )
    return found.entries, found.rows, found.fault and found.fault.sentence


def files_of(day: np.datetime64) -> list[str]:
    return [path.name for path in (Settings().days / "daily").iterdir() if path.name.startswith(str(day))]


@pytest.mark.parametrize(
    ("of_its_own", "free_kib", "what"),
    [
        pytest.param(False, 0, "could not open the ledger", id="the home's disk"),
        pytest.param(True, 0, "could not open the ledger", id="the ledger's disk"),
        pytest.param(True, 40, "could not write the ledger", id="in the middle of the issue"),
    ],
)
def test_where_the_ledger_s_disk_is_full_nothing_is_issued_and_the_next_run_issues(
    issued_once: Path, of_its_own: bool, free_kib: int, what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if of_its_own:
        shutil.copytree(issued_once / "home", tmp_path / "home")
        monkeypatch.setenv("TAPECAST_HOME", str(tmp_path / "home"))
        monkeypatch.setenv("TAPECAST_LEDGER", f"sqlite:///{issued_once}/home/ledger/ledger.db")
    before = ledger_of()
    filled = fill(issued_once, free_kib)
    announced: list[DailyResult] = []
    with pytest.raises(LedgerError, match=f"{what} .*: check TAPECAST_LEDGER, the disk's space"):
        daily(context_at(evening(DAY)), EXPERIMENT, DailyPlan(announce=announced.append))
    filled.unlink()
    assert (announced, ledger_of(), files_of(DAY)) == ([], before, [])
    (calendar,) = daily(context_at(evening(DAY)), EXPERIMENT, DailyPlan()).calendars
    assert [(row["session"], row["status"], row["added"]) for row in calendar.issued] == [(str(DAY), ON_TIME, 48)]
    assert ledger_of() == (before[0] + 1, before[1] + 48, None)


def test_where_the_disk_is_full_after_the_issue_the_result_is_complete(issued_once: Path) -> None:
    filled: list[Path] = []

    def filling(function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def step(*arguments: Any) -> Any:
            result = function(*arguments)
            if name == "issue":
                filled.append(fill(issued_once))
            return result

        return step

    messages = Messages()
    context = replace(context_at(evening(DAY)), timer=StageTimer(messages), step=filling)
    result = daily(context, EXPERIMENT, DailyPlan())
    filled[0].unlink()
    (calendar,) = result.calendars
    assert [(row["session"], row["status"], row["added"]) for row in calendar.issued] == [(str(DAY), ON_TIME, 48)]
    assert {row["ticker"] for row in calendar.forecasts} == {"AAA", "BBB", "CCC"}
    assert (result.recorded, calendar.report, result.refit) == (False, None, None)
    reported = [text for text in messages.sent if text.startswith("The day's file could not be written: ")]
    assert len(reported) == 2, "before the record and after it"
    assert all("No space left" in text for text in reported)
    without_record, lost, unrecorded, without_page = result.warnings
    assert without_record.startswith("The live record of calendar XNYS could not be made: cannot write ")
    assert lost.startswith("The report could not be written")
    assert unrecorded.endswith(f"It could not be kept in {Settings().outbox} either: MLflow will not have it.")
    assert without_page.startswith("The daily page could not be written: cannot write ")
    assert files_of(DAY) == []
    entries = ledger_of()
    again = daily(context_at(evening(DAY)), EXPERIMENT, DailyPlan()).calendars[0]
    assert (again.forecasts, again.entry) == (calendar.forecasts, calendar.entry)
    assert again.report is not None
    assert (files_of(DAY), ledger_of()) == ([f"{DAY}-XNYS.json"], entries)
    assert entries[2] is None
