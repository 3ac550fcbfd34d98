"""Run and backtest: train, combine and test the forecasters on every calendar of a universe, then forecast."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial

from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames, save_frames
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.scores import silence_sentences
from pipeline.evaluation.session_record import backtest_record
from pipeline.evaluation.trials import Trials
from pipeline.experiment import Experiment
from pipeline.files import draft_folder
from pipeline.forecasting.forecasts import results_of
from pipeline.forecasting.live import left_behind, not_trained_on
from pipeline.market.specification import SyntheticSource
from pipeline.market.universe import survivorship_warning
from pipeline.operation.champion import find_champion
from pipeline.operation.model import BacktestReference, TrainedModel, refuse_unusable_name
from pipeline.operation.publication import Publication, marked, publication
from pipeline.operation.result import CalendarResult
from pipeline.stages import (
    backtest_of,
    evaluation_of,
    folds_of,
    forecasts_of,
    jobs_of,
    without_unfitted,
    without_unscorable,
)
from pipeline.tracking.tested_specifications import (
    TestedSpecification,
    earlier_specification_digest,
    prices_digest,
    specification_digest,
)
from pipeline.training.devices import choose_device
from pipeline.training.jobs import FitResult
from pipeline.training.schedule import fit_all, raise_failures
from pipeline.wording import count_of
from pipeline.workflow.calendar_bars import CalendarBars, by_calendar, forecastable, frames_on
from pipeline.workflow.loading import load
from pipeline.workflow.over_calendars import RecordedRun, over_calendars
from pipeline.workflow.publishing import PublishPlan, published
from pipeline.workflow.recording import RecordedResult, Recording, record, recorded_experiment
from pipeline.workflow.run_context import RunContext
from pipeline.workflow.tickers import spelled

Check = Callable[[CalendarResult], None]


@dataclass(frozen=True)
class RunPlan:
    """What a run does with its fits: whether it also forecasts live, and what its models are published as.

    Without it nothing is published. `check` may raise on a recorded result: the run is then closed as failed, and
    nothing is published.
    """

    live: bool = True
    publish_as: PublishPlan | None = None
    check: Check | None = None


def run(context: RunContext, experiment: Experiment, plan: RunPlan) -> RecordedRun:
    """Load bars, fit, backtest and evaluate on every calendar of the universe; forecast and publish as planned."""
    context = context.as_of(experiment.source)
    experiment = experiment.model_copy(update={"tickers": spelled(experiment.source, experiment.tickers)})
    if plan.publish_as is not None:  # what would refuse the models is known before hours of training
        refuse_unusable_name(plan.publish_as.name, experiment.source)
        find_champion(context.settings.models, plan.publish_as.name)
    with recorded_experiment(context.settings, context.kind, experiment, context.patience) as recording:
        device = context.step(choose_device, "device")(experiment.device)
        calendars = by_calendar(load(context, experiment))
        several = len(calendars) > 1
        experiments = {bars.calendar: on_calendar(experiment, bars) if several else experiment for bars in calendars}
        recorded = over_calendars(
            context, recording, calendars, experiments, partial(_on_calendar, plan, device), experiment.tickers
        )
        return recorded if plan.publish_as is None else published(context, recorded, plan.publish_as, recording)


def _on_calendar(
    plan: RunPlan,
    device: str,
    context: RunContext,
    recording: Recording,
    bars: CalendarBars,
    experiment: Experiment,
) -> RecordedResult:
    """Return the recorded result of the run on one calendar."""
    requested = experiment
    with context.timer.stage("features"):
        frames = context.step(frames_on, "features")(bars, experiment)
        folds = folds_of(frames, experiment)
        experiment, remarks = without_unscorable(experiment, frames, folds)
    for sentence in (f"{count_of(len(folds), 'fold')}: {experiment.folds.describe()}.", *remarks):
        context.progress.message(sentence)
    with context.timer.stage("fit"):
        fits = context.step(fit_folds, "fit")(context, frames, folds, experiment, device)
        experiment, fits, unfitted = without_unfitted(experiment, fits)
        raise_failures(fits)
    for sentence in unfitted:
        context.progress.message(sentence)
    with context.timer.stage("evaluate"):
        trials = recording.count_tested(tested_specification(bars, experiment, frames, folds), experiment.trials)
        evaluation = context.step(evaluate_fits, "evaluate")((fits, folds, frames), bars, experiment, trials)
    chosen = publication(evaluation, experiment.abstain)
    result = CalendarResult(
        experiment=experiment,
        source_note=bars.note,
        known_at=bars.known_at,
        listings=bars.bars.listings,
        frames=frames,
        folds=folds,
        results=tuple(fits),
        problems=bars.problems,
        excluded=bars.excluded,
        stale=bars.stale,
        unseen=(),
        warnings=(*warnings_of(bars, experiment, evaluation), *remarks, *unfitted),
        evaluation=evaluation,
        forecasts=None,
        publication=chosen,
        restated=bars.restated,
        calendar_mismatches=bars.calendar_mismatches,
    )
    if plan.live:
        result = with_forecasts(context, result, bars, chosen)
    recorded = record(context, recording, result)
    if plan.check:
        plan.check(result)
    reference = BacktestReference(
        context.started_at.date(), evaluation.verdict.sentence, recorded.run_id or recording.record.id
    )
    trained = trained_model(bars, experiment, results_of(fits, folds[-1]), chosen)
    rule = evaluation.backtest.postprocessing
    left_out = {spec.kind for spec in requested.benchmarks} - {spec.kind for spec in experiment.benchmarks}
    state = rule.state if rule else None
    promise = backtest_record(evaluation.backtest) if plan.publish_as else None
    trained = replace(trained, backtest=reference, state=state, left_out=tuple(sorted(left_out)), promise=promise)
    return replace(recorded, trained=trained)


def fit_folds(
    context: RunContext, frames: Frames, folds: tuple[Fold, ...], experiment: Experiment, device: str
) -> list[FitResult]:
    """Return the results of every fit, failures as values; as many are made at once as there are workers."""
    jobs = list(jobs_of(frames, folds, experiment, device))
    results = []
    with draft_folder(context.settings.work) as folder:  # where worker processes open the frames
        save_frames(frames, folder)
        for result in fit_all(jobs, folder, context.fit_cache, experiment.worker_count, context.settings.processes):
            results.append(result)
            context.progress.fit_finished(result, len(results), len(jobs))
    return results


def evaluate_fits(
    fits: tuple[list[FitResult], tuple[Fold, ...], Frames], bars: CalendarBars, experiment: Experiment, trials: Trials
) -> Evaluation:
    """Return the evaluation of the backtest of fits, given with their folds and frames."""
    return evaluation_of(backtest_of(*fits, experiment), fits, bars.bars, experiment, trials)


def with_forecasts(
    context: RunContext, result: CalendarResult, bars: CalendarBars, chosen: Publication
) -> CalendarResult:
    """Return the result with the live forecasts of the latest fold's fits, combined and calibrated as in it."""
    forecast_frames = forecastable(result.frames, bars)
    with context.timer.stage("forecast"):
        forecast = context.step(forecasts_of, "forecast")
        rule = result.evaluation.backtest.postprocessing if result.evaluation else None
        live = forecast(result.results, result.frames, rule, bars.calendar, context.now, forecast_frames.tickers)
        forecasts = live.table
    latest = results_of(result.results, result.folds[-1])
    return replace(
        result,
        forecasts=marked(forecasts, chosen),
        weights=live.weights,
        excluded=(*result.excluded, *left_behind(forecast_frames)),
        unseen=not_trained_on(trained_on(latest), forecasts),
    )


def on_calendar(experiment: Experiment, bars: CalendarBars) -> Experiment:
    """Return the experiment as it is on one calendar: its tickers by name."""
    return experiment.model_copy(update={"tickers": bars.bars.tickers, "universe": None})


def warnings_of(bars: CalendarBars, experiment: Experiment, evaluation: Evaluation) -> tuple[str, ...]:
    """Return the sentences that qualify every number of a backtest; synthetic prices have no survivors."""
    silent = silence_sentences(evaluation.backtest)
    if isinstance(experiment.source, SyntheticSource):
        return silent
    tested = evaluation.backtest.sessions
    warning = survivorship_warning(bars.universe, bars.bars.tickers, tested[0], tested[-1])
    look_back = experiment.look_back(date.fromisoformat(str(tested[0])))
    return tuple(sentence for sentence in (warning, look_back, *silent) if sentence)


def trained_on(results: Sequence[FitResult]) -> tuple[str, ...]:
    """Return the tickers that the first kind of forecaster among the results was trained on, by one fit or several."""
    first = [result.job.tickers for result in results if result.job.forecaster.kind == results[0].job.forecaster.kind]
    return tuple(dict.fromkeys(ticker for tickers in first for ticker in tickers))


def tested_specification(
    bars: CalendarBars, experiment: Experiment, frames: Frames, folds: Sequence[Fold]
) -> TestedSpecification:
    """Return what is about to be tested, and on which prices."""
    return TestedSpecification(
        specification=specification_digest(experiment),
        prices=prices_digest(experiment.source, bars.calendar),
        tickers=(*bars.bars.tickers, *(out.ticker for out in bars.excluded)),
        first=frames.sessions[folds[0].test.start],
        last=frames.sessions[-1],
        earlier_specification=earlier_specification_digest(experiment),
    )


def trained_model(
    bars: CalendarBars, experiment: Experiment, latest: Sequence[FitResult], chosen: Publication
) -> TrainedModel:
    """Return what a run on one calendar has to publish."""
    return TrainedModel(
        calendar=bars.calendar,
        experiment=on_calendar(experiment, bars),
        market_members=bars.bars.tickers,
        other_tickers=bars.other_tickers,
        universe=bars.universe,
        results=tuple(latest),
        publication=chosen,
    )
