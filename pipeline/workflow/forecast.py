"""Forecast: the next sessions from a published model, without training."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial

import numpy as np

from pipeline.errors import UsageError
from pipeline.experiment import Experiment
from pipeline.forecasting.live import left_behind, live_forecasts, not_trained_on
from pipeline.forecasting.postprocessing import before, postprocessing_after
from pipeline.market.bars import Exclusion
from pipeline.market.specification import SourceSpec, known_at
from pipeline.market.universe import MembershipPeriod, Universe
from pipeline.operation.model import Model, common_source
from pipeline.operation.model_versions import name_to_forecast_with, read_version
from pipeline.operation.publication import marked
from pipeline.operation.result import CalendarResult
from pipeline.operation.version_files import ModelVersion
from pipeline.workflow.calendar_bars import CalendarBars, by_calendar, forecastable, frames_on, nothing_left
from pipeline.workflow.loading import load
from pipeline.workflow.over_calendars import RecordedRun, over_calendars
from pipeline.workflow.recording import RecordedResult, Recording, record, recorded_experiment
from pipeline.workflow.run_context import RunContext
from pipeline.workflow.tickers import spelled


def forecast(
    context: RunContext,
    tickers: tuple[str, ...],
    source: SourceSpec | None,
    as_known: datetime | None = None,
    model: str | None = None,
) -> RecordedRun:
    """Forecast from the champion of a model (default: that of the source), the tickers of its training or others.

    Raises UsageError where the models were trained on sessions later than the instant of the forecast, and where they
    were trained on different sources and none is named.
    """
    name = model or name_to_forecast_with(context.settings.models, source)
    version = read_version(context.settings.models, name)
    models = version.models
    trained_on = tuple(ticker for trained in models.values() for ticker in trained.market_members)
    base = next(iter(models.values())).experiment
    requested = source or common_source(models)
    wanted = spelled(requested, tickers) or trained_on
    read_from = known_at(requested, as_known) if as_known else requested
    experiment = base.model_copy(update={"tickers": wanted, "source": read_from})
    context = context.as_of(experiment.source)
    refuse_later_training(models, context.now)
    cross_market = tuple(ticker for trained in models.values() for ticker in trained.other_tickers)
    read = tuple(dict.fromkeys((*trained_on, *cross_market, *wanted)))
    with recorded_experiment(context.settings, context.kind, experiment, context.patience) as recording:
        loaded = load(context, experiment.model_copy(update={"tickers": read}), wanted)
        calendars = [bars for bars in by_calendar(loaded) if bars.concerns(wanted)]
        several = len(calendars) > 1
        experiments = {bars.calendar: requested_on(experiment, bars) if several else experiment for bars in calendars}
        work = partial(forecast_on_calendar, version)
        return over_calendars(context, recording, calendars, experiments, work, wanted)


def requested_on(experiment: Experiment, bars: CalendarBars) -> Experiment:
    """Return the experiment for the requested tickers of one calendar."""
    tickers = tuple(ticker for ticker in experiment.tickers if bars.concerns((ticker,)))
    return experiment.model_copy(update={"tickers": tickers})


def forecast_on_calendar(
    version: ModelVersion,
    context: RunContext,
    recording: Recording,
    bars: CalendarBars,
    experiment: Experiment,
) -> RecordedResult:
    """Return the recorded forecast on one calendar."""
    wanted, model = experiment.tickers, _model_of(version.models, bars, experiment)
    bars = replace(bars, universe=with_new_members(model.universe, wanted))
    described = model.experiment.model_copy(update={"tickers": wanted, "source": experiment.source})
    with context.timer.stage("features"):
        frames = context.step(frames_on, "features")(bars, described, market_members(context, model, bars))
    forecast_frames = forecastable(frames, bars, wanted)
    trained_until = np.datetime64(model.trained_until)
    rule = postprocessing_after(trained_until, described.folds, described.postprocessing, model.state)
    rule = before(rule, frames.sessions[-1])
    with context.timer.stage("forecast"):
        forecast = context.step(live_forecasts, "forecast")
        live = forecast(model.fits, frames, bars.calendar, context.now, rule, forecast_frames.tickers)
        forecasts = live.table
    result = CalendarResult(
        experiment=described,
        source_note=bars.note,
        known_at=bars.known_at,
        listings=bars.bars.listings,
        frames=forecast_frames,
        folds=(),
        results=(),
        problems=tuple(row for row in bars.problems if row.ticker in wanted),
        excluded=(*(out for out in bars.excluded if out.ticker in wanted), *left_behind(forecast_frames)),
        stale=tuple(row for row in bars.stale if row.ticker in wanted),
        unseen=not_trained_on(model.trained_on, forecasts),
        warnings=(),
        evaluation=None,
        forecasts=marked(forecasts, model.publication),
        publication=model.publication,
        weights=live.weights,
        restated=tuple(row for row in bars.restated if row.ticker in wanted),
        calendar_mismatches=bars.calendar_mismatches,
        model_version=version.reference(bars.calendar),
    )
    return record(context, recording, result)


def _model_of(models: Mapping[str, Model], bars: CalendarBars, experiment: Experiment) -> Model:
    if bars.calendar not in models:
        tickers = [ticker for ticker in bars.bars.tickers if ticker in experiment.tickers]
        reason = f"no model is published for calendar {bars.calendar}; run `tapecast run --publish` with tickers of it"
        raise nothing_left([*bars.excluded, *(Exclusion(ticker, reason) for ticker in tickers)])
    return models[bars.calendar]


def refuse_later_training(models: Mapping[str, Model], now: datetime) -> None:
    """Raise UsageError where a model was trained on sessions that were not known at the instant."""
    latest = max(model.trained_until for model in models.values())
    if latest > now.date().isoformat():
        raise UsageError(
            f"the published model was trained on sessions until {latest}, after {now:%Y-%m-%d}; use `tapecast run "
            "--as-known`, which trains on what was known then (finished fits are found again)"
        )


def with_new_members(universe: Universe | None, wanted: Collection[str]) -> Universe | None:
    """Return the model's universe, to which requested tickers that it does not list belong always."""
    if universe is None or not universe.memberships:
        return universe
    new = tuple(MembershipPeriod(ticker, None, None) for ticker in wanted if ticker not in universe.tickers)
    return replace(universe, memberships=(*universe.memberships, *new))


def market_members(context: RunContext, model: Model, bars: CalendarBars) -> tuple[str, ...]:
    """Return the tickers whose mean makes the market features, and those of other calendars: the model's.

    Where the source has none of the model's own tickers, the requested ones are used instead.
    """
    members = tuple(ticker for ticker in model.market_members if ticker in bars.bars.tickers)
    if not members:
        context.progress.message(
            "The source has none of the model's tickers: the requested ones make the market features instead."
        )
    return (*(members or bars.bars.tickers), *model.other_tickers)
