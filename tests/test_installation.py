"""The two commands on a fresh machine: `make forecast` in a clean clone, and a second time without installing."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


def make(folder: Path, *targets: str) -> "subprocess.CompletedProcess[str]":
    """Run make as a new user would: nothing of this test's environment points into the project."""
    leave_out = ("PREFECT_", "TAPECAST_", "VIRTUAL_ENV", "PYTHONPATH", "MAKE", "MFLAGS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(leave_out)}
    environment["PIP_NO_COMPILE"] = "1"  # what is imported is compiled then, and that is a small part
    found = subprocess.run(
        ["make", *targets], cwd=folder, env=environment, capture_output=True, text=True, timeout=900, check=False
    )
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    return found


def test_make_forecast_in_a_clean_clone(tmp_path: Path) -> None:
    clone = tmp_path / "a new folder"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    try:
        first = make(clone, "forecast")
        assert re.search(r"AAPL .* 430\.47 ", first.stdout)
        assert all(ticker in first.stdout for ticker in ("AAPL", "FB", "GOOG", "IBM", "MSFT"))
        assert "end on 2013-03-01" in first.stdout
        report = next((clone / ".tapecast" / "reports").glob("*/report.html")).read_text("utf-8")
        assert "end on 2013-03-01" in report
        assert not subprocess.run(["git", "status", "--porcelain"], cwd=clone, capture_output=True, check=True).stdout
        installed = (clone / ".venv" / ".installed").stat().st_mtime_ns
        fits = sorted((clone / ".tapecast" / "fits").iterdir())
        second = make(clone, "forecast")
        assert (clone / ".venv" / ".installed").stat().st_mtime_ns == installed
        assert "pip install" not in second.stdout
        assert sorted((clone / ".tapecast" / "fits").iterdir()) == fits
    finally:
        shutil.rmtree(clone, ignore_errors=True)  # two gigabytes
