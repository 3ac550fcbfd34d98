"""Cuts of the large panel with one split each, on which the combination is chosen and measured, and their fits."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.dataset.folds import Fold, FoldSpec
from pipeline.dataset.frames import Frames, save_frames
from pipeline.experiment import Experiment
from pipeline.market.bars import Bars
from pipeline.market.sources import open_source
from pipeline.market.specification import SampleSource
from pipeline.market.validation.validate import load_bars
from pipeline.stages import folds_of, frames_of, jobs_of
from pipeline.training.cache import FitCache
from pipeline.training.jobs import FitResult
from pipeline.training.schedule import fit_all, raise_failures
from tests.benchmarks.main_job import LARGE

TRAIN, VALIDATION, TEST = 600, 125, 250
"""Sessions of each range of a cut; its test ends with its era."""
COUNTS = (20, 50)
EARLIER = LARGE.model_copy(update={"folds": FoldSpec(train_end="2012-12-31", valid_end="2014-12-31")})
EARLIER_UNTIL = "2016-12-31"
"""The last day of the large panel that may be read while a rule is chosen: the main job's test begins after it."""


@dataclass(frozen=True)
class Job:
    """Bars and the experiment on them."""

    name: str
    bars: Bars
    experiment: Experiment


@dataclass(frozen=True)
class Fits:
    """The fits of a job with the folds and the frames that they were made on."""

    results: Sequence[FitResult]
    folds: tuple[Fold, ...]
    frames: Frames


def between(bars: Bars, first: np.datetime64, last: np.datetime64, tickers: Sequence[str] | None = None) -> Bars:
    """Return the bars of some sessions (both ends included) and tickers (default: all)."""
    kept = tuple(listing for listing in bars.listings if tickers is None or listing.ticker in tickers)
    frame = bars.frame
    frame = frame[frame["session"].between(pd.Timestamp(first), pd.Timestamp(last))]
    frame = frame[frame["ticker"].isin([listing.ticker for listing in kept])]
    return Bars(frame.reset_index(drop=True), kept, bars.returns_from)


def sample_bars() -> Bars:
    """Return the bars of the bundled sample."""
    return load_bars(open_source(SampleSource()), (), datetime.now(UTC), Experiment().minimum_sessions).bars


def earlier_large(bars: Bars) -> Job:
    """Return the large panel up to the end of the main job's validation, with a split two years before its own."""
    until = between(bars, np.datetime64("1900-01-01"), np.datetime64(EARLIER_UNTIL))
    return Job("100 tickers, 2016", until, EARLIER)


def cuts(bars: Bars, eras: Sequence[int], seed: int) -> Iterator[Job]:
    """Yield a cut per era, the last year of its test, and count of tickers, which are drawn from the panel."""
    draws = np.random.default_rng(seed)
    every = np.unique(bars.frame["session"].to_numpy().astype("datetime64[D]"))
    for era in eras:
        stop = int(np.searchsorted(every, np.datetime64(f"{era + 1}-01-01")))
        sessions = every[stop - TRAIN - VALIDATION - TEST : stop]
        ends = {"train_end": str(sessions[TRAIN - 1]), "valid_end": str(sessions[TRAIN + VALIDATION - 1])}
        experiment = Experiment(folds=FoldSpec.model_validate(ends), device="cpu")
        for count in COUNTS:
            tickers = draws.choice(bars.tickers, count, replace=False).tolist()
            yield Job(f"{count} tickers, {era}", between(bars, sessions[0], sessions[-1], tickers), experiment)


def fitted(job: Job, folder: Path | None) -> Fits:
    """Return every fit of a job; those that the folder has are not repeated, and new ones are kept in it."""
    frames = frames_of(job.bars, job.experiment)
    folds = folds_of(frames, job.experiment)
    jobs = list(jobs_of(frames, folds, job.experiment, "cpu"))
    with tempfile.TemporaryDirectory() as name:
        save_frames(frames, Path(name) / "frames")
        cache = FitCache(folder or Path(name) / "fits")
        results = list(fit_all(jobs, Path(name) / "frames", cache, job.experiment.worker_count))
    raise_failures(results)
    return Fits(results, folds, frames)
