"""Daily: after each close update, grade, forecast and issue; then record, and refit the model where that is due."""

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from uuid import uuid4

import numpy as np

from pipeline.dataset.frames import Frames
from pipeline.errors import NothingUsableError, TapecastError
from pipeline.experiment import Experiment
from pipeline.files import write_whole
from pipeline.forecasting.live import not_trained_on
from pipeline.market.bars import Exclusion
from pipeline.operation.aliases import one_publisher
from pipeline.operation.environment import this_environment
from pipeline.operation.ledger.database import Ledger, open_ledger
from pipeline.operation.ledger.entries import Entry
from pipeline.operation.model import Model, common_source, model_name, refuse_unusable_name
from pipeline.operation.model_versions import find_champion
from pipeline.operation.publication import published_rows
from pipeline.operation.result import CalendarResult
from pipeline.operation.takeover import same_experiment
from pipeline.operation.version_files import ModelVersion
from pipeline.settings import Settings
from pipeline.stages import folds_of
from pipeline.tracking.ledger_heads import ledger_tag
from pipeline.tracking.runs import start_run
from pipeline.workflow.calendar_bars import CalendarBars, by_calendar, forecastable, frames_on
from pipeline.workflow.daily_result import DailyCalendar, DailyResult, after, calendar_from_json
from pipeline.workflow.forecast import market_members, with_new_members
from pipeline.workflow.grading import grade
from pipeline.workflow.issuing import Issued, IssuedSession, Issuer, issue
from pipeline.workflow.loading import load
from pipeline.workflow.over_calendars import over_calendars
from pipeline.workflow.progress import StageTimer
from pipeline.workflow.publishing import PublishPlan, mirror
from pipeline.workflow.recording import RecordedResult, Recording, deliver_waiting, record, recorded
from pipeline.workflow.result import JsonObject
from pipeline.workflow.run import RunPlan, run
from pipeline.workflow.run_context import RunContext
from pipeline.workflow.summaries import json_forecasts
from pipeline.workflow.tickers import spelled

LOCK_SECONDS = 600.0
"""How long a daily run waits for another one of the same model."""

Announce = Callable[[DailyResult], None]


def say_nothing(_result: DailyResult) -> None:
    """Announce nothing: the caller shows the result at the end."""


@dataclass(frozen=True)
class DailyPlan:
    """What a daily run does: the name of its model, and the calendar that it is for (default: all of the model's).

    A session that closed less than `delay_minutes` ago is left to a later run: its bars may not be final. `announce`
    gets the result as soon as it is issued, before it is recorded, drawn or anything else.
    """

    model: str | None = None
    calendar: str | None = None
    delay_minutes: int = 0
    announce: Announce = say_nothing


@dataclass(frozen=True, eq=False)
class IssuedCalendar:
    """What a calendar's step leaves for its record: the summary, and the result with its frames."""

    bars: CalendarBars
    frames: Frames
    summary: DailyCalendar
    result: CalendarResult


def daily(context: RunContext, experiment: Experiment, plan: DailyPlan) -> DailyResult:
    """Issue the forecasts of the sessions that have closed, then record them; refit the model where that is due.

    The champion of the model forecasts, without a backtest; where the name has no version yet, the experiment is
    trained and tested first. A second run for a day gives what the first one issued. Raises LedgerError where nothing
    can be issued because the ledger cannot be written, NothingUsableError where no calendar has a usable ticker.
    """
    name = plan.model or model_name(experiment.source)
    refuse_unusable_name(name, experiment.source)
    with _alone(context.settings, name):
        version = find_champion(context.settings.models, name) or _first_version(context, experiment, name)
        ledger = open_ledger(context.settings.ledger_url)
        issued, failed = _issue_all(context, ledger, version, plan, spelled(experiment.source, experiment.tickers))
        result = _result(context, name, issued, failed)
        for calendar in result.calendars:
            write_day(context.settings, name, calendar)
        plan.announce(result)
        result = _with_records(context, result, version, issued)
        for calendar in result.calendars:
            write_day(context.settings, name, calendar)
        refit = _refit(context, experiment, name, version, issued)
        return replace(result, refit=refit, seconds=dict(context.timer.seconds))


def _alone(settings: Settings, name: str) -> AbstractContextManager[None]:
    return one_publisher(settings.models / name / "daily", LOCK_SECONDS)


def _first_version(context: RunContext, experiment: Experiment, name: str) -> ModelVersion:
    context.progress.message(f"Model {name} has no version yet: it is trained and tested first.")
    return _trained(context, experiment, name, requested=True)


def _trained(context: RunContext, experiment: Experiment, name: str, requested: bool) -> ModelVersion:
    """Return the version of a new backtest, published under a name."""
    own = replace(context, kind="backtest", timer=StageTimer(context.progress))
    recorded = run(own, experiment, RunPlan(live=False, publish_as=PublishPlan(name, requested)))
    if recorded.version is None:
        raise TapecastError(f"found no version of model {name} after it was published, expected one; run again")
    return recorded.version


# --- Issue ---


def _issue_all(
    context: RunContext, ledger: Ledger, version: ModelVersion, plan: DailyPlan, requested: tuple[str, ...]
) -> tuple[list[IssuedCalendar], list[Exclusion]]:
    """Return what was issued on each calendar, and the tickers of calendars on which nothing could be."""
    models = {code: model for code, model in version.models.items() if plan.calendar in (None, code)}
    if not models:
        raise NothingUsableError(
            f"model {version.name} has no calendar {plan.calendar}, expected one of {', '.join(version.models)}"
        )
    base = next(iter(models.values())).experiment
    members = tuple(ticker for model in models.values() for ticker in (*model.market_members, *model.other_tickers))
    wanted = requested or tuple(ticker for model in models.values() for ticker in model.market_members)
    tickers = tuple(dict.fromkeys((*members, *wanted)))
    read = base.model_copy(update={"tickers": tickers, "source": common_source(models), "universe": None})
    loaded, run_id = load(context, read, wanted), uuid4().hex
    issued: list[IssuedCalendar] = []
    failed: list[Exclusion] = []
    for bars in by_calendar(loaded):
        if bars.calendar not in models:
            continue
        issuer = Issuer(
            ledger,
            version,
            bars.calendar,
            run_id,
            bars.known_at,
            bars.price_basis,
            timedelta(minutes=plan.delay_minutes),
        )
        try:
            issued.append(_issue_on(context, issuer, bars, requested))
        except NothingUsableError as error:
            failed += [out for out in error.excluded if isinstance(out, Exclusion)]
            context.progress.message(f"Calendar {bars.calendar}: {error}")
    if not issued:
        raise NothingUsableError(f"nothing could be issued for model {version.name}", failed)
    return issued, failed


def _issue_on(context: RunContext, issuer: Issuer, bars: CalendarBars, requested: tuple[str, ...]) -> IssuedCalendar:
    """Return what was issued on one calendar, after grading what has matured."""
    model = issuer.model
    wanted = tuple(ticker for ticker in requested if bars.concerns((ticker,))) or model.market_members
    bars = replace(bars, universe=with_new_members(model.universe, wanted))
    with context.timer.stage("features"):
        frames = context.step(frames_on, "features")(bars, model.experiment, market_members(context, model, bars))
    with context.timer.stage("grade"):
        restated = [row.ticker for row in bars.restated]
        graded = context.step(grade, "grade")(
            issuer.ledger, issuer.version.name, frames, restated, context.now, issuer.known_at
        )
    tickers = forecastable(frames, bars, wanted).tickers
    with context.timer.stage("issue"):
        found = context.step(issue, "issue")(context, issuer, frames, tickers)
    result = _calendar_result(bars, model, frames.of(tickers), found, wanted)
    summary = replace(_summary(issuer, result, found), graded=graded.added, regraded=graded.restated)
    stored = read_day(context.settings, issuer.version.name, summary)
    return IssuedCalendar(bars, frames, after(stored, summary), result)


def _calendar_result(
    bars: CalendarBars, model: Model, frames: Frames, found: Issued, wanted: tuple[str, ...]
) -> CalendarResult:
    return CalendarResult(
        experiment=model.experiment,
        source_note=bars.note,
        known_at=bars.known_at,
        listings=bars.bars.listings,
        frames=frames,
        folds=(),
        results=(),
        problems=tuple(row for row in bars.problems if row.ticker in wanted),
        excluded=tuple(out for out in bars.excluded if out.ticker in wanted),
        stale=tuple(row for row in bars.stale if row.ticker in wanted),
        unseen=not_trained_on(model.trained_on, found.forecasts),
        warnings=(found.skipped,) if found.skipped else (),
        evaluation=None,
        forecasts=found.forecasts,
        publication=model.publication,
        restated=bars.restated,
        calendar_mismatches=bars.calendar_mismatches,
    )


def _summary(issuer: Issuer, result: CalendarResult, found: Issued) -> DailyCalendar:
    backtest = issuer.model.backtest
    return DailyCalendar(
        calendar=issuer.calendar,
        version=issuer.version.number,
        origin=str(result.frames.sessions[-1]),
        entry={"sequence": last.sequence, "digest": last.digest} if (last := issuer.last) else {},
        issued=[
            {"session": str(it.session), "status": it.status, **asdict(it.appended), "stages": it.stages}
            for it in found.sessions
        ],
        skipped=found.skipped,
        graded=0,
        regraded=0,
        forecasts=json_forecasts(published_rows(found.forecasts)),
        backtest=None if backtest is None else {**asdict(backtest), "date": backtest.date.isoformat()},
        excluded=[asdict(out) for out in result.excluded],
        stale=[asdict(row) for row in result.stale],
        restated=[asdict(row) for row in result.restated],
    )


def _issued_json(it: IssuedSession) -> JsonObject:
    return {"session": str(it.session), "status": it.status, **asdict(it.appended), "stages": it.stages}


def _result(
    context: RunContext, name: str, issued: Sequence[IssuedCalendar], failed: Sequence[Exclusion]
) -> DailyResult:
    return DailyResult(
        model=name,
        calendars=tuple(it.summary for it in issued),
        failed=tuple(asdict(out) for out in failed),
        seconds=dict(context.timer.seconds),
    )


# --- Record ---


def _with_records(
    context: RunContext, result: DailyResult, version: ModelVersion, issued: Sequence[IssuedCalendar]
) -> DailyResult:
    """Return the result with where it was recorded; nothing of it can be lost here any more."""
    by_code = {it.bars.calendar: it for it in issued if not (it.summary.logged and it.summary.skipped)}
    if not by_code:
        deliver_waiting(context.settings)
        return result
    base = next(iter(version.models.values())).experiment
    experiments = {code: it.result.experiment for code, it in by_code.items()}
    work = partial(_record_on, result.model, by_code)
    job = f"daily {result.model} {' '.join(f'{code} {it.summary.origin}' for code, it in sorted(by_code.items()))}"
    start = partial(start_run, kind=context.kind, experiment=base)
    with recorded(context.settings, job, start) as recording:
        found = over_calendars(
            context, recording, [it.bars for it in issued if it.bars.calendar in by_code], experiments, work, ()
        )
        mirror(context, recording, result.model)
    where = {it.result.calendar: it for it in found.results}
    calendars = tuple(_recorded(calendar, where.get(calendar.calendar)) for calendar in result.calendars)
    warnings = [warning for it in found.results for warning in it.warnings]
    return replace(result, calendars=calendars, warnings=tuple(dict.fromkeys(warnings)))


def _record_on(
    name: str,
    issued: Mapping[str, IssuedCalendar],
    context: RunContext,
    recording: Recording,
    bars: CalendarBars,
    _experiment: Experiment,
) -> RecordedResult:
    entry = issued[bars.calendar].summary.entry
    recording.record.write(tags=ledger_tag(name, entry["sequence"], entry["digest"]) if entry else {})
    return record(context, recording, issued[bars.calendar].result)


def _recorded(calendar: DailyCalendar, recorded: RecordedResult | None) -> DailyCalendar:
    if recorded is None:
        return calendar
    return replace(
        calendar,
        logged=True,
        mlflow_run_id=recorded.run_id,
        mlflow_url=recorded.url,
        report=str(recorded.report) if recorded.report else None,
        recorded=recorded.recorded,
    )


# --- The day's file ---


def day_file(settings: Settings, name: str, calendar: str, origin: str) -> Path:
    """Return the path of the day's JSON: what was issued, with the digest of the ledger's last entry."""
    return settings.days / name / f"{origin}-{calendar.replace('/', '-')}.json"


def write_day(settings: Settings, name: str, calendar: DailyCalendar) -> None:
    """Write the day's JSON of a calendar."""
    path = day_file(settings, name, calendar.calendar, calendar.origin)
    heads = [{"sequence": row["sequence"], "digest": row["digest"]} for row in calendar.issued]
    content = {"model": name, "ledger": heads, **asdict(calendar), "environment": asdict(this_environment())}
    write_whole(path, json.dumps(content, indent=1).encode())


def read_day(settings: Settings, name: str, calendar: DailyCalendar) -> DailyCalendar | None:
    """Return what an earlier run of the same day wrote, None where none did or its file cannot be read."""
    try:
        return calendar_from_json(json.loads(day_file(settings, name, calendar.calendar, calendar.origin).read_text()))
    except (OSError, ValueError, TypeError, KeyError):  # the ledger has what was issued; the file is written again
        return None


def read_stages(settings: Settings, entry: Entry) -> dict[str, str]:
    """Return the digests of the stages that the day's JSON has of an entry of the ledger, none where it is gone."""
    known = entry.provenance
    path = day_file(settings, known.model, known.calendar, entry.last_origin.isoformat())
    try:
        issued = json.loads(path.read_text())["issued"]
        return next((row["stages"] for row in issued if row["sequence"] == entry.sequence), {})
    except (OSError, ValueError, TypeError, KeyError):
        return {}


# --- Refit ---


def _refit(
    context: RunContext, experiment: Experiment, name: str, version: ModelVersion, issued: Sequence[IssuedCalendar]
) -> JsonObject | None:
    """Return what came of the refit where one is due, None where none is; a failure is reported, not raised."""
    reasons = [reason for it in issued if (reason := refit_reason(version.models[it.bars.calendar], experiment, it))]
    if not reasons:
        return None
    context.progress.message(f"A refit is due: {reasons[0]}.")
    with context.timer.stage("refit"):
        try:
            new = _trained(context, experiment, name, requested=any("experiment" in reason for reason in reasons))
        except TapecastError as error:
            return {"status": "failed", "reason": reasons[0], "error": str(error)}
    decision = new.description.takeover
    return {
        "status": "champion" if decision.accepted else "refused",
        "reason": reasons[0],
        "version": new.number,
        "sentence": decision.sentence,
    }


def refit_reason(model: Model, experiment: Experiment, issued: IssuedCalendar) -> str:
    """Return why the model of a calendar is due to be refitted, an empty string where it is not."""
    fitted = {spec.kind for spec in model.experiment.benchmarks}  # those that could not be scored were dropped
    scorable = tuple(spec for spec in experiment.benchmarks if spec.kind in fitted)
    if not same_experiment(experiment.model_copy(update={"benchmarks": scorable}), model.experiment):
        return "the experiment is another one than the champion's"
    try:
        latest = folds_of(issued.frames, model.experiment)[-1].validation.until
    except NothingUsableError:
        return ""
    return f"the fold of {latest} has begun" if latest > np.datetime64(model.trained_until) else ""
