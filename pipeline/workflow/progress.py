"""Progress of a run: what is reported while it goes on, and the seconds of its stages."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pipeline.training.jobs import FitResult


class Progress(Protocol):
    """What receives the progress of a run."""

    def stage_started(self, stage: str) -> None:
        """Report that a stage starts."""

    def stage_finished(self, stage: str, seconds: float) -> None:
        """Report that a stage has finished without an error."""

    def fit_finished(self, result: FitResult, done: int, total: int) -> None:
        """Report one more finished fit."""

    def message(self, text: str) -> None:
        """Report a sentence."""


class NoProgress:
    """Reports nothing, for work that takes a moment."""

    def stage_started(self, stage: str) -> None:
        """Report nothing."""

    def stage_finished(self, stage: str, seconds: float) -> None:
        """Report nothing."""

    def fit_finished(self, result: FitResult, done: int, total: int) -> None:
        """Report nothing."""

    def message(self, text: str) -> None:
        """Report nothing."""


class StageTimer:
    """Times the stages of a run and reports them; `seconds` has those of the finished ones, in order."""

    def __init__(self, progress: Progress) -> None:
        self.progress = progress
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Return a context that is timed as a stage."""
        self.progress.stage_started(name)
        started = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - started, 3)
        self.progress.stage_finished(name, self.seconds[name])
