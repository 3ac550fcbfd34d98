"""A search in milliseconds: losses by a formula instead of fits, and the real thing on a small made market."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from pipeline.dataset.frames import Frames, save_frames
from pipeline.experiment import Experiment
from pipeline.stages import folds_of
from pipeline.training.cache import FitCache
from pipeline.training.jobs import FitJob, FitResult
from pipeline.training.schedule import fit_all
from pipeline.tuning.choosing import Choosing, choosing_of
from pipeline.tuning.outcome import Trial
from pipeline.tuning.search import judging, search
from pipeline.tuning.space import Choices, Interval, Space, Value, space_of, values_of
from pipeline.tuning.storage import Storage
from pipeline.tuning.study import Study, open_study
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
TERMS = {"prices": "some", "search space": "this"}


def storage_in(folder: Path) -> Storage:
    return Storage(f"sqlite:///{folder / 'study.db'}")


@contextmanager
def opened(folder: Path, name: str = "s", seed: int = 0, terms: Mapping[str, str] = TERMS) -> Iterator[Study]:
    with open_study(storage_in(folder), name, SPACE, terms, FIRST, seed) as study:
        yield study


def losses_of(values: Mapping[str, Value]) -> list[float]:
    """The losses of two folds by a formula: lower where the rate is near 0.01."""
    away = abs(float(values["training.learning_rate"]) - 0.01) + 0.01 * float(values["network.hidden_size"])
    return [1.0 + away, 3.0 + 2 * away]


def go_on(study: Study, total: int, after: Callable[[], None] = lambda: None) -> tuple[Trial, ...]:
    """Make trials by the formula;  is called after each report."""
    while asked := study.ask(total):
        for one in asked:
            losses = losses_of(one.values)
            given_up = study.report(one, 0, losses[:1], losses[0])
            after()
            if given_up:
                study.prune(one)
                continue
            study.report(one, 1, losses, sum(losses) / 2)
            after()
            study.complete(one, sum(losses) / 2)
    return study.trials()


def told(trials: Sequence[Trial]) -> list[tuple[object, ...]]:
    """What has to be the same in two studies, bit for bit."""
    return [(one.number, one.state, dict(one.values), one.losses, one.loss) for one in trials]


def really_searched(
    frames: Frames, folder: Path, total: int, folds: int = 2, base: Experiment = TINY
) -> tuple[tuple[Trial, ...], Choosing]:
    """The trials of a real search on frames, fitted in this process."""
    choosing = choosing_of(frames, folds_of(frames, base), folds)
    save_frames(choosing.frames, folder / "frames")

    def fit(jobs: Sequence[FitJob]) -> list[FitResult]:
        return list(fit_all(jobs, folder / "frames", FitCache(folder / "kept"), 1))

    space = space_of(TABLE, base)
    with open_study(storage_in(folder), "s", space, TERMS, values_of(base, space), base.seed) as study:
        *_, trials = search(study, judging(base, choosing, "cpu", fit), total)
    return trials, choosing
