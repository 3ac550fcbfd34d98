"""Daily: after each close update, grade, forecast and issue; then record, and refit the model where that is due."""

import hashlib
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from functools import partial

from pipeline.errors import TapecastError, UsageError
from pipeline.experiment import Experiment
from pipeline.market.bars import Exclusion
from pipeline.market.universe import members_on
from pipeline.operation.aliases import one_daily_run
from pipeline.operation.champion import SoundVersion, find_sound_version
from pipeline.operation.model import model_name, refuse_unusable_name
from pipeline.operation.model_versions import versions
from pipeline.operation.version_files import ModelVersion, VersionDescription
from pipeline.tracking.ledger_heads import ledger_tag
from pipeline.tracking.runs import start_run
from pipeline.workflow.calendar_bars import CalendarBars
from pipeline.workflow.daily_issue import IssuedCalendar, IssuePlan, issue_all
from pipeline.workflow.daily_page import UNDECIDED, DaySources, refit_in_words, with_daily_page
from pipeline.workflow.daily_result import DailyCalendar, DailyResult
from pipeline.workflow.day_file import write_day
from pipeline.workflow.earlier_records import deliver_waiting, finish_cut_off
from pipeline.workflow.ledger import ledger_to_issue_into
from pipeline.workflow.live_record import with_live_records
from pipeline.workflow.over_calendars import over_calendars
from pipeline.workflow.progress import StageTimer
from pipeline.workflow.publishing import PublishPlan, mirror
from pipeline.workflow.recording import RecordedResult, Recording, record, recorded
from pipeline.workflow.refit_due import experiment_of_another, refit_reasons
from pipeline.workflow.result import JsonObject
from pipeline.workflow.run import RunPlan, run
from pipeline.workflow.run_context import RunContext, announce_nothing
from pipeline.workflow.tickers import spelled, universe_of

LOCK_SECONDS = 600.0
"""How long a daily run waits for another one of the same model."""

Announce = Callable[[DailyResult], None]


@dataclass(frozen=True)
class DailyPlan:
    """What a daily run does: the name of its model, and the calendar that it is for (default: all of the model's).

    A session that closed less than `delay_minutes` ago is left to a later run: its bars may not be final. `announce`
    gets the result as soon as it is issued, before it is recorded, drawn or anything else.
    """

    model: str | None = None
    calendar: str | None = None
    delay_minutes: int = 0
    announce: Announce = announce_nothing


def daily(context: RunContext, experiment: Experiment, plan: DailyPlan) -> DailyResult:
    """Issue the forecasts of the sessions that have closed, then record them; refit the model where that is due.

    The champion of the model forecasts, without a backtest; where it cannot be read, the version before does, and a
    refit follows. Where no version can be used, the experiment is trained and tested first. A second run for a day
    gives what the first one issued. Raises LedgerError where nothing can be issued because the ledger cannot be written
    or lacks what was issued, NothingUsableError where no calendar has a usable ticker.
    """
    name = plan.model or model_name(experiment.source)
    refuse_unusable_name(name, experiment.source)
    with one_daily_run(context.settings.models / name, LOCK_SECONDS):
        found = find_sound_version(context.settings.models, name)
        version = _version_to_use(context, experiment, name, found)
        finish_cut_off(context.settings, [it.backtest.mlflow_run_id for it in version.models.values() if it.backtest])
        ledger = ledger_to_issue_into(context.settings, name)
        wanted = IssuePlan(tickers_to_issue(context, experiment), plan.calendar, timedelta(minutes=plan.delay_minutes))
        with ledger.held_open():
            issued, failed = issue_all(context, ledger, version, wanted)
        result = _result(context, name, found, issued, failed)
        _write_days(context, result)
        plan.announce(result)
        with ledger.held_open(), context.timer.stage("monitor"):
            result = with_live_records(context, ledger, version, result, issued)
        result = _with_records(context, result, version, issued)
        _write_days(context, result)
        sources = DaySources(ledger, version, {it.bars.calendar: it for it in issued})
        with context.timer.stage("page"):  # a refit may take hours, and the page is read before
            result = with_daily_page(context, sources, result, UNDECIDED)
        lost = found.unreadable[0].number if found.version and found.unreadable else None
        refit = _refit(context, experiment, version, issued, lost)
        result = replace(result, refit=refit)
        with context.timer.stage("page"):
            result = with_daily_page(context, sources, result, refit_in_words(refit, version))
        return replace(result, seconds=dict(context.timer.seconds))


def tickers_to_issue(context: RunContext, experiment: Experiment) -> tuple[str, ...]:
    """Return the tickers named, or those that are members of the universe today; none stands for the model's own.

    A universe's list is read every day: who joined is forecast at once, as any ticker that the model was not trained
    on, and who left no longer. Raises UsageError where it cannot be read, or nobody is a member.
    """
    if experiment.universe is None:
        return spelled(experiment.source, experiment.tickers)
    universe = universe_of(context.settings, experiment.source, experiment.universe)
    return members_on(universe, context.now.date())


def _write_days(context: RunContext, result: DailyResult) -> None:
    """Write the files of the day; where that fails the ledger has the forecasts all the same."""
    for calendar in result.calendars:
        try:
            write_day(context.settings, result.model, calendar)
        except UsageError as error:
            context.progress.message(f"The day's file could not be written: {error}")


def _version_to_use(context: RunContext, experiment: Experiment, name: str, found: SoundVersion) -> ModelVersion:
    """Return the version to forecast with, trained and tested first where there is none."""
    if found.unreadable:
        context.progress.message(found.sentence(name))
    elif found.version is None:
        context.progress.message(f"Model {name} has no champion yet: it is trained and tested first.")
    return found.version or _trained(context, experiment, name, requested=True)


def _trained(context: RunContext, experiment: Experiment, name: str, requested: bool) -> ModelVersion:
    """Return the version of a new backtest, published under a name."""
    own = replace(context, kind="backtest", timer=StageTimer(context.progress))
    recorded = run(own, experiment, RunPlan(live=False, publish_as=PublishPlan(name, requested)))
    if recorded.version is None:
        raise TapecastError(f"found no version of model {name} after it was published, expected one; run again")
    return recorded.version


def _result(
    context: RunContext,
    name: str,
    found: SoundVersion,
    issued: Sequence[IssuedCalendar],
    failed: Sequence[Exclusion],
) -> DailyResult:
    return DailyResult(
        model=name,
        calendars=tuple(it.summary for it in issued),
        failed=tuple(asdict(out) for out in failed),
        warnings=(found.sentence(name),) if found.unreadable else (),
        unreadable=tuple(asdict(it) for it in found.unreadable),
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
    days = " ".join(f"{code} {it.summary.origin}" for code, it in sorted(by_code.items()))
    start = partial(start_run, kind=context.kind, experiment=base)
    job, record_id = f"daily {result.model} {days}", _record_id(by_code)
    with recorded(context.settings, job, start, record_id, context.patience) as recording:
        found = over_calendars(
            context, recording, [it.bars for it in issued if it.bars.calendar in by_code], experiments, work, ()
        )
        mirror(context, recording, result.model)
    where = {it.result.calendar: it for it in found.results}
    calendars = tuple(_recorded(calendar, where.get(calendar.calendar)) for calendar in result.calendars)
    warnings = [warning for it in found.results for warning in _of_the_record(it, by_code[it.result.calendar])]
    return replace(result, calendars=calendars, warnings=(*result.warnings, *dict.fromkeys(warnings)))


def _of_the_record(recorded: RecordedResult, issued: IssuedCalendar) -> list[str]:
    """Return what could not be drawn, written or recorded; what was known at the issue is in the summary."""
    return [text for text in (*recorded.result.warnings, *recorded.warnings) if text not in issued.result.warnings]


def _record_id(issued: Mapping[str, IssuedCalendar]) -> str | None:
    """Return the id of the record, None where the ledger has nothing yet.

    It is that of the ledger's entries: a run that dies between its record and its note that it was made is made again
    by the next one, and MLflow has it once.
    """
    digests = [it.summary.entry["digest"] for _code, it in sorted(issued.items()) if it.summary.entry]
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()[:32] if digests else None


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


# --- Refit ---


def _refit(
    context: RunContext,
    experiment: Experiment,
    version: ModelVersion,
    issued: Sequence[IssuedCalendar],
    lost: int | None,
) -> JsonObject | None:
    """Return what came of the refit where one is due, None where none is; a failure is reported, not raised.

    `lost` is the number of a champion that cannot be read, and that `version` stands in for.
    """
    reason = "found no way to tell whether a refit is due"
    try:
        known = [it for it in versions(context.settings.models, version.name) if isinstance(it, VersionDescription)]
        frames = {it.bars.calendar: it.frames for it in issued}
        reasons = refit_reasons(version, known, experiment, frames, lost)
        if not reasons:
            if sentence := experiment_of_another(version, known, experiment):
                context.progress.message(sentence)
            return None
        reason = reasons[0].sentence
        context.progress.message(f"A refit is due: {reason}.")
        with context.timer.stage("refit"):
            new = _trained(context, experiment, version.name, requested=any(it.requested for it in reasons))
    except Exception as error:  # noqa: BLE001  what was issued is the result, and a fault of the training loses none of it
        return _failed(context, reason, error)
    decision = new.description.takeover
    return {
        "status": "champion" if decision.accepted else "refused",
        "reason": reason,
        "version": new.number,
        "sentence": decision.sentence,
    }


def _failed(context: RunContext, reason: str, error: Exception) -> JsonObject:
    """Return a refit that failed; what is no error for a user, but a fault of ours, is shown with its traceback."""
    if isinstance(error, TapecastError):
        return {"status": "failed", "reason": reason, "error": str(error)}
    context.progress.message("".join(traceback.format_exception(error)))
    return {"status": "failed", "reason": reason, "error": f"{type(error).__name__}: {error}"}
