"""The main job, stage by stage: what the flows run, backtest, forecast and sine have in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd

from flows.folders import refuse_unwritable
from flows.loading import load_bars, nothing_left
from flows.recording import Recorded, Recording
from flows.tasks import as_task
from flows.watching import Stopwatch, Watch
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames, save_frames
from pipeline.drafts import draft_folder
from pipeline.errors import NothingUsableError
from pipeline.evaluation.backtest import FORECASTERS, build_backtest, fits_of
from pipeline.evaluation.scores import score_table, skill_table
from pipeline.evaluation.significance import significance_table
from pipeline.evaluation.verdict import verdict
from pipeline.experiment import Experiment, folds_of, frames_of, jobs_of
from pipeline.market.bars import Admitted
from pipeline.market.source import Source, open_source
from pipeline.market.specification import SourceSpec
from pipeline.operation.live import left_behind, live_forecasts
from pipeline.operation.model import Model, latest_model, publish
from pipeline.operation.outcome import Evaluation, Outcome
from pipeline.reporting.wording import count_of
from pipeline.settings import Settings
from pipeline.tracking.words import Kind
from pipeline.training.devices import choose_device
from pipeline.training.executors import fit_all, raise_failures
from pipeline.training.jobs import FitResult
from pipeline.training.kept import KeptFits


@dataclass(frozen=True)
class Finished:
    """A finished job: its outcome, and where to look next."""

    outcome: Outcome
    recorded: Recorded
    report: Path
    seconds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Job:
    """What every stage of one job may use."""

    kind: Kind
    settings: Settings
    clock: Stopwatch
    out: Path | None
    now: datetime

    @property
    def kept(self) -> KeptFits:
        """Where finished fits are kept."""
        return KeptFits(self.settings.fits)


def new_job(kind: Kind, out: Path | None, watch: Watch) -> Job:
    """Return a job that begins now; raises UsageError at once where its results could not be written."""
    settings = Settings()
    for folder in (settings.root, *([out] if out else [])):
        refuse_unwritable(folder)
    return Job(kind, settings, Stopwatch(watch), out, datetime.now(UTC))


def train_and_forecast(
    job: Job, experiment: Experiment, *, live: bool, check: Callable[[Outcome], None] | None = None
) -> Finished:
    """Run the main job: bars, frames, fits, backtest; if live, also forecast from the latest fold and publish it.

    `check` may raise on the recorded outcome: the run is then closed as failed, and nothing is published.
    """
    with Recording(job.settings, job.kind, experiment) as recording:
        device = as_task(choose_device, "device")(experiment.device)
        source, admitted = open_and_load(job, experiment, experiment.tickers)
        recording.where()  # a store that cannot be written is known before hours of training
        with job.clock.stage("features"):
            frames = as_task(frames_of, "features")(admitted.bars, experiment)
            folds = folds_of(frames, experiment)
        job.clock.watch.says(f"{count_of(len(folds), 'fold')}: {experiment.folds.describe()}.")
        with job.clock.stage("fit"):
            results = as_task(fit_folds, "fit")(job, frames, folds, experiment, device)
        with job.clock.stage("evaluate"):
            evaluation = as_task(evaluate, "evaluate")(results, folds, frames)
        forecasts = live_stage(job, results, folds, frames, admitted) if live else None
        outcome = Outcome(
            experiment=experiment,
            source_note=source.note,
            frames=frames,
            folds=folds,
            results=tuple(results),
            problems=admitted.problems,
            left_out=(*admitted.left_out, *(left_behind(forecastable(frames, admitted)) if live else ())),
            unseen=unseen(of_latest_fold(results, folds)[0].job.tickers, forecasts),
            evaluation=evaluation,
            forecasts=forecasts,
        )
        finished = record_results(job, recording, outcome)
        if check:
            check(outcome)
        if live:
            publish(job.settings.models, experiment, admitted.bars.tickers, of_latest_fold(results, folds))
        return finished


def unseen(trained_on: Sequence[str], forecasts: pd.DataFrame | None) -> tuple[str, ...]:
    """Return the tickers that are forecast by a model which was not trained on them."""
    shown = () if forecasts is None else tuple(dict.fromkeys(forecasts["ticker"]))
    return tuple(ticker for ticker in shown if ticker not in trained_on)


def live_stage(
    job: Job, results: Sequence[FitResult], folds: Sequence[Fold], frames: Frames, admitted: Admitted
) -> pd.DataFrame:
    """Return the live forecasts of the latest fold's fits, its tail held out exactly as in the backtest."""
    fits = fits_of(results, folds[-1])
    calendar = admitted.bars.listings[0].calendar
    with job.clock.stage("forecast"):
        return as_task(live_forecasts, "forecast")(fits, forecastable(frames, admitted), calendar, job.now)


def forecast_from_latest(job: Job, tickers: tuple[str, ...], source: SourceSpec | None) -> Finished:
    """Run a forecast from the latest fitted model, of tickers it was trained on or of others."""
    model = latest_model(job.settings.models, job.kept)
    wanted = tuple(dict.fromkeys(tickers)) or model.market
    experiment = model.experiment.model_copy(update={"tickers": wanted, **({"source": source} if source else {})})
    with Recording(job.settings, job.kind, experiment) as recording:
        opened, admitted = open_and_load(job, experiment, tuple(dict.fromkeys((*model.market, *wanted))), wanted)
        with job.clock.stage("features"):
            frames = as_task(frames_of, "features")(admitted.bars, experiment, market_of(job, model, admitted))
        shown = forecastable(frames, admitted, wanted)
        calendar = admitted.bars.listings[0].calendar
        with job.clock.stage("forecast"):
            forecasts = as_task(live_forecasts, "forecast")(model.fits, shown, calendar, job.now)
        outcome = Outcome(
            experiment=experiment,
            source_note=opened.note,
            frames=shown,
            folds=(),
            results=(),
            problems=tuple(problem for problem in admitted.problems if problem.ticker in wanted),
            left_out=(*(out for out in admitted.left_out if out.ticker in wanted), *left_behind(shown)),
            unseen=unseen(model.seen, forecasts),
            evaluation=None,
            forecasts=forecasts,
        )
        return record_results(job, recording, outcome)


def market_of(job: Job, model: Model, admitted: Admitted) -> tuple[str, ...]:
    """Return the tickers whose mean is the market: the model's, or where the source has none of them its own."""
    members = tuple(ticker for ticker in model.market if ticker in admitted.bars.tickers)
    if not members:
        job.clock.watch.says("The source has none of the model's tickers: those asked for stand in for the market.")
    return members or admitted.bars.tickers


def forecastable(frames: Frames, admitted: Admitted, wanted: Sequence[str] | None = None) -> Frames:
    """Return the frames of the wanted tickers (default: all) that nothing at the door speaks against.

    Raises NothingUsableError when none is left.
    """
    stopped = {out.ticker for out in admitted.left_out}
    asked = frames.tickers if wanted is None else wanted
    tickers = [ticker for ticker in frames.tickers if ticker in asked and ticker not in stopped]
    if not tickers:
        raise nothing_left([out for out in admitted.left_out if out.ticker in asked])
    return frames.of(tickers)


def of_latest_fold(results: Sequence[FitResult], folds: Sequence[Fold]) -> list[FitResult]:
    """Return the results of the latest fold, in one order."""
    own = [result for result in results if result.job.fold.name == folds[-1].name]
    return sorted(own, key=lambda result: (FORECASTERS.index(result.job.forecaster.kind), result.job.seed))


def open_and_load(
    job: Job, experiment: Experiment, tickers: tuple[str, ...], told_of: tuple[str, ...] | None = None
) -> tuple[Source, Admitted]:
    """Return the source and the bars that came through the door; says which tickers (told of) were left out."""
    with job.clock.stage("load"):
        source = open_source(experiment.source, job.settings.cache)
        admitted = load_bars(source, experiment, tickers, job.now)
    for out in admitted.left_out:
        if told_of is not None and out.ticker not in told_of:
            continue
        job.clock.watch.says(f"left out {out.ticker}: {out.reason}")
    return source, admitted


def fit_folds(
    job: Job, frames: Frames, folds: tuple[Fold, ...], experiment: Experiment, device: str
) -> list[FitResult]:
    """Return the results of every fit, as many at once as there are workers; raises FitError naming failed ones."""
    jobs = list(jobs_of(frames, folds, experiment, device))
    results = []
    with draft_folder(job.settings.work) as folder:  # where worker processes open the frames, for as long as they run
        save_frames(frames, folder)
        for result in fit_all(jobs, folder, job.kept, experiment.worker_count):
            results.append(result)
            job.clock.watch.fitted(result, len(results), len(jobs))
    raise_failures(results)
    return results


def evaluate(results: list[FitResult], folds: tuple[Fold, ...], frames: Frames) -> Evaluation:
    """Return the backtest of the fits with its scores, tests and verdict."""
    backtest = build_backtest(results, folds, frames)
    if not backtest.scored.any():
        raise NothingUsableError(
            f"nothing to score: no outcome is known yet after {folds[0].test.first}, expected some sessions to test; "
            "end the validation earlier or bring newer bars"
        )
    scores = score_table(backtest)
    skill, significance = skill_table(scores), significance_table(backtest)
    return Evaluation(backtest, scores, skill, significance, verdict(backtest, skill, significance))


def record_results(job: Job, recording: Recording, outcome: Outcome) -> Finished:
    """Write figures, report and MLflow run of an outcome, and return where they are."""
    from pipeline.reporting.figures import draw_figures  # noqa: PLC0415  matplotlib, only when something is to be drawn
    from pipeline.reporting.report import write_report  # noqa: PLC0415

    recorded = recording.where()
    folder = job.out or job.settings.reports / f"{job.now:%Y-%m-%dT%H%M%S}-{job.kind}-{recorded.run_id[:8]}"
    with job.clock.stage("report"):
        figures = as_task(draw_figures, "figures")(outcome)
        report = as_task(write_report, "report")(outcome, figures, folder, recorded.url)
    with job.clock.stage("record"):
        as_task(recording.log, "record")(outcome, figures, report, dict(job.clock.seconds))
    recording.log_seconds("record", job.clock.seconds["record"])
    return Finished(outcome, recorded, report, dict(job.clock.seconds))
