"""A job: where its results go, its clock, and the stages that all jobs have in common."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from flows.loading import load_bars, looking_from, nothing_left
from flows.markets import Loaded, Market
from flows.recording import Recorded, Recording
from flows.tasks import as_task
from flows.watching import Stopwatch, Watch
from pipeline.dataset.covariates.exogenous import read_given
from pipeline.dataset.frames import Frames
from pipeline.experiment import Experiment
from pipeline.files import refuse_unwritable
from pipeline.market.specification import SourceSpec
from pipeline.operation.model import Trained
from pipeline.operation.outcome import Outcome
from pipeline.settings import Settings
from pipeline.stages import frames_of
from pipeline.tracking.words import Kind
from pipeline.training.kept import KeptFits


@dataclass(frozen=True)
class Finished:
    """A finished job on one market: its outcome, where to look next, and what it has to publish."""

    outcome: Outcome
    recorded: Recorded
    report: Path
    seconds: dict[str, float] = field(default_factory=dict)
    trained: Trained | None = None


@dataclass(frozen=True)
class Job:
    """What every stage of one job may use; `now` is the instant from which it looks at the market."""

    kind: Kind
    settings: Settings
    clock: Stopwatch
    out: Path | None
    began: datetime
    now: datetime

    @property
    def kept(self) -> KeptFits:
        """Where finished fits are kept."""
        return KeptFits(self.settings.fits)

    def looking_at(self, source: SourceSpec) -> "Job":
        """Return the same job, looking from the instant at which the source's prices are to be known."""
        return replace(self, now=looking_from(source, self.began))


def new_job(kind: Kind, out: Path | None, watch: Watch) -> Job:
    """Return a job that begins now; raises UsageError at once where its results could not be written."""
    settings = Settings()
    for folder in (settings.root, *([out] if out else [])):
        refuse_unwritable(folder)
    began = datetime.now(UTC)
    return Job(kind, settings, Stopwatch(watch), out, began, began)


def load_stage(job: Job, experiment: Experiment, told_of: tuple[str, ...] | None = None) -> Loaded:
    """Return what came through the door; says which tickers (told of) were left out or are not up to date."""
    with job.clock.stage("load"):
        loaded = load_bars(job.settings, experiment, job.now)
    shown = [(out.ticker, f"left out {out.ticker}: {out.reason}") for out in loaded.admitted.left_out]
    shown += [(old.ticker, f"not up to date {old.ticker}: {old.reason}") for old in loaded.stale]
    for ticker, sentence in shown:
        if told_of is None or ticker in told_of:
            job.clock.watch.says(sentence)
    return loaded


def frames_on(market: Market, experiment: Experiment, members: tuple[str, ...] | None = None) -> Frames:
    """Return the frames of one market; `members` (default: all its tickers) make the market features."""
    given = read_given(experiment.sectors, experiment.covariates)
    return frames_of(market.bars, experiment, members, market.others, market.universe, given)


def unseen(trained_on: Sequence[str], forecasts: pd.DataFrame | None) -> tuple[str, ...]:
    """Return the tickers that are forecast by a model which was not trained on them."""
    shown = () if forecasts is None else tuple(dict.fromkeys(forecasts["ticker"]))
    return tuple(ticker for ticker in shown if ticker not in trained_on)


def forecastable(frames: Frames, market: Market, wanted: Sequence[str] | None = None) -> Frames:
    """Return the frames of the wanted tickers (default: all) that nothing at the door speaks against.

    Raises NothingUsableError when none is left.
    """
    stopped = {out.ticker for out in market.left_out}
    asked = frames.tickers if wanted is None else wanted
    tickers = [ticker for ticker in frames.tickers if ticker in asked and ticker not in stopped]
    if not tickers:
        raise nothing_left([out for out in market.left_out if out.ticker in asked])
    return frames.of(tickers)


def record_results(job: Job, recording: Recording, outcome: Outcome) -> Finished:
    """Write figures, report and MLflow run of an outcome, and return where they are."""
    from pipeline.reporting.figures import draw_figures  # noqa: PLC0415  matplotlib, only when something is to be drawn
    from pipeline.reporting.report import write_report  # noqa: PLC0415

    recorded = recording.where()
    folder = job.out or job.settings.reports / f"{job.began:%Y-%m-%dT%H%M%S}-{job.kind}-{recorded.run_id[:8]}"
    with job.clock.stage("report"):
        figures = as_task(draw_figures, "figures")(outcome)
        report = as_task(write_report, "report")(outcome, figures, folder, recorded.url)
    with job.clock.stage("record"):
        as_task(recording.log, "record")(outcome, figures, report, dict(job.clock.seconds))
    recording.log_seconds("record", job.clock.seconds["record"])
    return Finished(outcome, recorded, report, dict(job.clock.seconds))
