"""Studies in milliseconds with losses by a formula instead of fits, and a real search on a small simulated market."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.dataset.frames import Frames, save_frames
from pipeline.experiment import Experiment
from pipeline.sqlite import sqlite_uri
from pipeline.stages import folds_of
from pipeline.training.cache import FitCache
from pipeline.training.jobs import FitJob, FitResult
from pipeline.training.schedule import fit_all
from pipeline.tuning.search import search, search_inputs
from pipeline.tuning.space import Choices, Interval, Space, Value, space_of, values_of
from pipeline.tuning.storage import Storage
from pipeline.tuning.study import Study, open_study
from pipeline.tuning.trial import Trial
from pipeline.tuning.tuning_data import TuningData, tuning_data_of
from tests.panels import TINY

SPACE: Space = {
    "network.hidden_size": Interval(2, 8, whole=True),
    "training.learning_rate": Interval(1e-4, 1e-1, log=True),
    "network.cell": Choices(("lstm", "gru")),
}
TABLE = {
    "network.hidden_size": {"low": 2, "high": 8},
    "training": {"learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}},
}
FIRST: Mapping[str, Value] = {"network.hidden_size": 6, "training.learning_rate": 4e-3, "network.cell": "lstm"}
SHARED_SETTINGS = {"prices": "some", "search space": "this"}


def storage_in(folder: Path) -> Storage:
    return Storage(sqlite_uri(folder / "study.db"))


@contextmanager
def opened(
    folder: Path, name: str = "s", seed: int = 0, shared: Mapping[str, str] = SHARED_SETTINGS
) -> Iterator[Study]:
    with open_study(storage_in(folder), name, SPACE, shared, FIRST, seed) as study:
        yield study


def losses_of(values: Mapping[str, Value]) -> list[float]:
    """The losses of two folds by a formula: lower where the rate is near 0.01."""
    distance = abs(float(values["training.learning_rate"]) - 0.01) + 0.01 * float(values["network.hidden_size"])
    return [1.0 + distance, 3.0 + 2 * distance]


def run_trials(study: Study, total: int, after_report: Callable[[], None] = lambda: None) -> tuple[Trial, ...]:
    """Run trials by the formula; `after_report` is called after each report."""
    while group := study.ask(total):
        for pending in group:
            losses = losses_of(pending.values)
            prune = study.report(pending, 0, losses[:1], losses[0])
            after_report()
            if prune:
                study.prune(pending)
                continue
            study.report(pending, 1, losses, sum(losses) / 2)
            after_report()
            study.complete(pending, sum(losses) / 2)
    return study.trials()


def results_of(trials: Sequence[Trial]) -> list[tuple[object, ...]]:
    """What has to be identical in two studies, bit for bit."""
    return [(trial.number, trial.state, dict(trial.values), trial.losses, trial.loss) for trial in trials]


def real_search(
    frames: Frames, folder: Path, total: int, folds: int = 2, base: Experiment = TINY
) -> tuple[tuple[Trial, ...], TuningData]:
    """The trials of a real search on frames, fitted in this process."""
    data = tuning_data_of(frames, folds_of(frames, base), folds)
    save_frames(data.frames, folder / "frames")

    def fit(jobs: Sequence[FitJob]) -> list[FitResult]:
        return list(fit_all(jobs, folder / "frames", FitCache(folder / "kept"), 1))

    space = space_of(TABLE, base)
    with open_study(storage_in(folder), "s", space, SHARED_SETTINGS, values_of(base, space), base.seed) as study:
        *_, trials = search(study, search_inputs(base, data, "cpu", fit), total)
    return trials, data
