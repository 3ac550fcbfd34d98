"""Watching a run: what is told while it goes on, and how long each stage took."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from pipeline.training.jobs import FitResult


class Watch(Protocol):
    """Someone who is told how a run goes on."""

    def begins(self, stage: str) -> None:
        """A stage begins."""

    def ends(self, stage: str, seconds: float) -> None:
        """A stage has ended well."""

    def fitted(self, result: FitResult, done: int, total: int) -> None:
        """One more fit has finished."""

    def says(self, text: str) -> None:
        """Something that a person should know."""


class Stopwatch:
    """Runs stages under a watch and keeps their seconds, in order."""

    def __init__(self, watch: Watch) -> None:
        self.watch = watch
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the work within."""
        self.watch.begins(name)
        began = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - began, 3)
        self.watch.ends(name, self.seconds[name])


class Quiet:
    """Says nothing, for work that is over before it could be told."""

    def begins(self, stage: str) -> None:
        """Say nothing."""

    def ends(self, stage: str, seconds: float) -> None:
        """Say nothing."""

    def fitted(self, result: FitResult, done: int, total: int) -> None:
        """Say nothing."""

    def says(self, text: str) -> None:
        """Say nothing."""


class LogWatch:
    """Writes to the log of the Prefect run, for runs that nobody sits in front of."""

    def begins(self, stage: str) -> None:
        """Say nothing: the end is what counts."""

    def ends(self, stage: str, seconds: float) -> None:
        """Log the stage with its seconds."""
        self.says(f"{stage}: {seconds:.1f} s")

    def fitted(self, result: FitResult, done: int, total: int) -> None:  # noqa: ARG002  the count says enough
        """Log every tenth fit and the last."""
        if done % 10 == 0 or done == total:
            self.says(f"{done} of {total} fits")

    def says(self, text: str) -> None:
        """Log a sentence."""
        from prefect import get_run_logger  # noqa: PLC0415

        get_run_logger().info(text)
