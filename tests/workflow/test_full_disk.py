"""A home on a disk that is full, or can only be read: the forecast is shown all the same."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.errors import UsageError
from pipeline.settings import Settings
from pipeline.workflow.forecast import forecast
from pipeline.workflow.progress import NoProgress
from pipeline.workflow.publishing import PublishPlan
from pipeline.workflow.result import CalendarSummary
from pipeline.workflow.run import RunPlan, run
from pipeline.workflow.run_context import new_context
from pipeline.workflow.summaries import result_of
from tests.panels import TINY, changed

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
