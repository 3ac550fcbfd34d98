"""A new forecaster is one file and one entry of the registry: a copy of the project gets one, and runs the main job."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]

NAIVE = '''
"""The last close, with the outcomes of one session in training around it."""

from typing import Literal

import numpy as np
from pydantic import BaseModel

from pipeline.forecasters.forecaster import LEVELS, FitData, Forecaster, Parameters


class NaiveSpec(BaseModel, frozen=True, extra="forbid"):
    """Quantiles of all one-session returns in training."""

    kind: Literal["naive"] = "naive"


def fit(spec, data: FitData) -> Parameters:
    returns = data.frames.future_return[:, data.fold.train.start : data.fold.train.stop - 1, 0]
    return Parameters({"levels": np.nanquantile(returns, LEVELS).astype(np.float32)})


def quantiles(spec, fitted, frames, origins):
    shape = (*frames.volatility_20[:, origins].shape, fitted.horizons, len(LEVELS))
    return np.broadcast_to(fitted.arrays["levels"], shape).astype(np.float32)


FORECASTER = Forecaster(NaiveSpec, fit, quantiles, "baseline")
'''

MAIN_JOB = """
import json
from pipeline.experiment import Experiment
from pipeline.workflow.run_context import new_context
from pipeline.workflow.summaries import result_of
from pipeline.workflow.run import RunPlan, run

experiment = Experiment.model_validate({
    "source": {"kind": "synthetic", "process": "random_walk", "sessions": 620, "tickers": 3},
    "seeds": 1, "horizons": 2, "workers": 2, "device": "cpu",
    "network": {"hidden_size": 4}, "training": {"min_steps": 4, "max_steps": 8, "batch_chunks": 4},
    "folds": {"minimum_train_sessions": 100},
})
result = result_of(run(new_context("run"), experiment, RunPlan()))
print(json.dumps(result.calendars[0].backtest.scores["1"]))
"""


def with_naive(folder: Path) -> Path:
    """A copy of the package with one more forecaster."""
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__"))
    forecasters = folder / "pipeline" / "forecasters"
    (forecasters / "naive.py").write_text(NAIVE)
    registry = (forecasters / "registry.py").read_text()
    registry = registry.replace("    linear,\n", "    linear,\n    naive,\n", 1)
    registry = registry.replace("    ridge.FORECASTER,\n", "    ridge.FORECASTER,\n    naive.FORECASTER,\n", 1)
    (forecasters / "registry.py").write_text(registry)
    return folder


def scores_of(folder: Path, home: Path) -> dict[str, Any]:
    """The scores one session ahead of the main job, run with the package in a folder."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PREFECT_", "TAPECAST_"))}
    finished = subprocess.run(
        [sys.executable, "-c", MAIN_JOB],
        cwd=folder,
        env={**kept, "PYTHONPATH": str(folder), "TAPECAST_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    scores: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return scores


@pytest.mark.slow
def test_one_file_and_one_entry_add_a_forecaster_to_the_main_job(tmp_path: Path) -> None:
    without = scores_of(ROOT, tmp_path / "home")
    scores = scores_of(with_naive(tmp_path / "copy"), tmp_path / "home")
    assert "naive" not in without
    assert scores.pop("naive")["pinball"] > 0
    combined = [(scores.pop(name), without.pop(name)) for name in ("combined", "calibrated")]
    assert all(one != other for one, other in combined), "a new baseline is combined with the others"
    assert scores == without, "a new baseline changes no score of another forecaster"
