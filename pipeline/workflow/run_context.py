"""What every step of a run may use: settings, folders, progress, its instant, and how a step is wrapped."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pipeline.files import refuse_unwritable
from pipeline.market.sources import RemoteSource
from pipeline.market.specification import SourceSpec, StoredSource, YahooSource
from pipeline.operation.result import CalendarResult
from pipeline.settings import Settings
from pipeline.tracking.descriptions import RunKind
from pipeline.tracking.patience import Patience
from pipeline.training.cache import FitCache
from pipeline.workflow.progress import NoProgress, Progress, StageTimer

F = TypeVar("F", bound=Callable[..., Any])


class Step(Protocol):
    """How a step of a use case is wrapped, for example as a Prefect task of that name."""

    def __call__(self, function: F, name: str) -> F:
        """Return the function, wrapped."""


def unwrapped(function: F, name: str) -> F:  # noqa: ARG001  a step of the plain use case needs no name
    """Return the function as it is."""
    return function


Announce = Callable[[CalendarResult], None]
"""Called with what a run found on a calendar, as soon as it is complete: before a figure, a report or a record."""


def announce_nothing(_result: object) -> None:
    """Announce nothing: the caller shows the result at the end."""


def utc_now() -> datetime:
    """Return the present instant."""
    return datetime.now(UTC)


class RemoteSourceOf(Protocol):
    """How a run reaches the source of an update."""

    def __call__(self, source: YahooSource, cache_dir: Path, now: Callable[[], datetime]) -> RemoteSource:
        """Return the remote source; `now` is the clock by which rows are known."""


def yahoo_client(source: YahooSource, cache_dir: Path, now: Callable[[], datetime]) -> RemoteSource:
    """Return a client of Yahoo itself."""
    from pipeline.market.yahoo.client import YahooClient  # noqa: PLC0415  brings yfinance: a second of imports
    from pipeline.market.yahoo.rate_limit import Clock  # noqa: PLC0415

    return YahooClient(source.start, cache_dir=cache_dir, clock=Clock(now=now))


@dataclass(frozen=True)
class RunContext:
    """What every step of one run may use; `now` is the instant as of which it reads prices.

    `clock` gives later instants of the run, `remote` the source of an update, and `announce` gets each result before it
    is recorded.
    """

    kind: RunKind
    settings: Settings
    timer: StageTimer
    step: Step
    out: Path | None
    started_at: datetime
    now: datetime
    clock: Callable[[], datetime] = utc_now
    remote: RemoteSourceOf = yahoo_client
    announce: Announce = announce_nothing
    patience: Patience = field(default_factory=Patience)  # of all records of the use case together

    @property
    def progress(self) -> Progress:
        """What receives the run's progress."""
        return self.timer.progress

    @property
    def fit_cache(self) -> FitCache:
        """The cache of finished fits."""
        return FitCache(self.settings.fits)

    def as_of(self, source: SourceSpec) -> "RunContext":
        """Return the same context as of the instant that the source's prices are read as known at."""
        stored = isinstance(source, StoredSource) and source.as_known
        return replace(self, now=stored or self.started_at)

    def report_folder(self, run_id: str) -> Path:
        """Return the folder for the report of a recorded run."""
        return self.out or self.settings.reports / f"{self.started_at:%Y-%m-%dT%H%M%S}-{self.kind}-{run_id[:8]}"


def new_context(
    kind: RunKind,
    out: Path | None = None,
    progress: Progress | None = None,
    step: Step = unwrapped,
    clock: Callable[[], datetime] = utc_now,
    remote: RemoteSourceOf = yahoo_client,
) -> RunContext:
    """Return the context of a run that starts now; raises UsageError at once where its results cannot be written.

    A forecast needs nothing written: it is shown from a home that can only be read, too.
    """
    settings = Settings()
    for folder in (*([settings.root] if kind != "forecast" else []), *([out] if out else [])):
        refuse_unwritable(folder)
    now = clock()
    return RunContext(kind, settings, StageTimer(progress or NoProgress()), step, out, now, now, clock, remote)
