"""The issue of a day: load, grade and forecast on every calendar of a model version, and keep it in the ledger."""

from dataclasses import asdict, dataclass, replace
from datetime import date, timedelta
from uuid import uuid4

from pipeline.dataset.frames import Frames
from pipeline.errors import LedgerError, NothingUsableError
from pipeline.forecasting.live import left_behind, not_trained_on
from pipeline.market.bars import Exclusion, Restated
from pipeline.market.sources import open_source
from pipeline.operation.ledger.database import Ledger
from pipeline.operation.ledger.grades import Graded
from pipeline.operation.ledger.reading import entry_at, tickers_waiting
from pipeline.operation.model import VersionReference, common_source
from pipeline.operation.publication import published_rows
from pipeline.operation.result import CalendarResult
from pipeline.operation.version_files import ModelVersion
from pipeline.workflow.calendar_bars import CalendarBars, by_calendar, forecastable, frames_on
from pipeline.workflow.daily_result import DailyCalendar, after
from pipeline.workflow.day_file import read_day
from pipeline.workflow.forecast import market_members, with_new_members
from pipeline.workflow.grading import Grading, grade
from pipeline.workflow.issuer import Issuer
from pipeline.workflow.issuing import Issued, IssuedSession, issue
from pipeline.workflow.loading import load
from pipeline.workflow.result import JsonObject
from pipeline.workflow.run_context import RunContext
from pipeline.workflow.summaries import json_forecasts

WAITED_FOR = timedelta(days=60)
"""How long after its target session a forecast's bar is still requested for a ticker that is not forecast any more."""


@dataclass(frozen=True, eq=False)
class IssuedCalendar:
    """What a calendar's step leaves for its record: the summary, the result with its frames, and the first origin of
    which forecasts were graded for the first time, None where none were.
    """

    bars: CalendarBars
    frames: Frames
    summary: DailyCalendar
    result: CalendarResult
    graded_since: date | None


@dataclass(frozen=True)
class IssuePlan:
    """What is issued: the tickers and the calendar (default: all of the model's), and how long after a close."""

    tickers: tuple[str, ...]
    calendar: str | None
    delay: timedelta


def issue_all(
    context: RunContext, ledger: Ledger, version: ModelVersion, plan: IssuePlan
) -> tuple[list[IssuedCalendar], list[Exclusion]]:
    """Return what was issued on each calendar, and the tickers of calendars on which nothing could be."""
    models = {code: model for code, model in version.models.items() if plan.calendar in (None, code)}
    if not models:
        raise NothingUsableError(
            f"model {version.name} has no calendar {plan.calendar}, expected one of {', '.join(version.models)}"
        )
    base = next(iter(models.values())).experiment
    members = tuple(ticker for model in models.values() for ticker in (*model.market_members, *model.other_tickers))
    wanted = plan.tickers or tuple(ticker for model in models.values() for ticker in model.market_members)
    # One that is requested no more still has the outcomes of its last forecasts to come.
    waiting = tickers_waiting(ledger, version.name, context.now.date() - WAITED_FOR)
    tickers = tuple(dict.fromkeys((*members, *wanted, *waiting)))
    read = base.model_copy(update={"tickers": tickers, "source": common_source(models), "universe": None})
    loaded, run_id = load(context, read, wanted), uuid4().hex
    issued: list[IssuedCalendar] = []
    failed: list[Exclusion] = []
    for bars in by_calendar(loaded):
        if bars.calendar not in models:
            failed += _without_model(version, bars, wanted) if plan.calendar is None else []
            continue
        issuer = Issuer(
            ledger,
            version,
            bars.calendar,
            run_id,
            bars.known_at,
            bars.price_basis,
            plan.delay,
        )
        try:
            issued.append(_issue_on(context, issuer, bars, plan.tickers))
        except NothingUsableError as error:
            failed += [out for out in error.excluded if isinstance(out, Exclusion)]
            context.progress.message(f"Calendar {bars.calendar}: {error}")
    if not issued:
        raise NothingUsableError(f"nothing could be issued for model {version.name}", failed)
    return issued, failed


def _without_model(version: ModelVersion, bars: CalendarBars, wanted: tuple[str, ...]) -> list[Exclusion]:
    """Return the requested tickers of a calendar that no model was trained on, with that as the reason."""
    reason = f"model {version.name} has none for calendar {bars.calendar} yet; the next refit trains one"
    return [Exclusion(ticker, reason) for ticker in bars.bars.tickers if ticker in wanted]


def _issue_on(context: RunContext, issuer: Issuer, bars: CalendarBars, requested: tuple[str, ...]) -> IssuedCalendar:
    """Return what was issued on one calendar, after grading what has matured."""
    model = issuer.model
    wanted = tuple(ticker for ticker in requested if bars.concerns((ticker,))) or model.market_members
    bars = replace(bars, universe=with_new_members(model.universe, wanted))
    with context.timer.stage("features"):
        frames = context.step(frames_on, "features")(bars, model.experiment, market_members(context, model, bars))
    with context.timer.stage("grade"):
        grading, warnings = _graded(context, issuer, frames)
    bars = replace(bars, restated=_restated(bars, grading, wanted))
    tickers = forecastable(frames, bars, wanted).tickers
    with context.timer.stage("issue"):
        found = context.step(issue, "issue")(context, issuer, frames, tickers)
        found = replace(found, warnings=(*warnings, *found.warnings))
    result = _calendar_result(bars, issuer, frames.of(tickers), found, wanted)
    graded = grading.graded
    summary = replace(_summary(issuer, result, found), graded=graded.added, regraded=graded.restated)
    stored = read_day(context.settings, issuer.version.name, summary)
    return IssuedCalendar(bars, frames, after(stored, summary), result, grading.first_origin)


def _graded(context: RunContext, issuer: Issuer, frames: Frames) -> tuple[Grading, list[str]]:
    """Return what came of the grading of a calendar, and a sentence where it failed.

    Raises LedgerError: into a ledger that cannot be read or written nothing can be issued either.
    """
    try:
        source = open_source(issuer.model.experiment.source, context.settings.prices)
        work = context.step(grade, "grade")
        return work(issuer.ledger, issuer.version.name, frames, source, context.now, issuer.known_at), []
    except LedgerError:
        raise
    except Exception as error:  # noqa: BLE001  a forecast has to be issued before its outcome is known, a grade waits
        found = f"{type(error).__name__}: {error}"
    # What was not graded is still noted as waiting, so that the next run grades it; a lasting fault is said every day.
    warning = f"The forecasts whose outcome is known could not be graded ({found}); the next run grades them."
    return Grading(Graded(0, 0, 0)), [warning]


def _restated(bars: CalendarBars, grading: Grading, wanted: tuple[str, ...]) -> tuple[Restated, ...]:
    """Return the restated tickers: by this run's update, and by any one since the last grade of each.

    One that is forecast no more gets no further grade, so that it is named where its grades changed and not every day.
    """
    concerned = {*wanted, *grading.changed}
    since = [Restated(name, "; ".join(map(str, its))) for name, its in grading.restated.items() if name in concerned]
    return tuple({row.ticker: row for row in (*bars.restated, *since)}.values())


def _calendar_result(
    bars: CalendarBars, issuer: Issuer, frames: Frames, found: Issued, wanted: tuple[str, ...]
) -> CalendarResult:
    model = issuer.model
    stale = tuple(row for row in bars.stale if row.ticker in wanted)
    known_behind = {row.ticker for row in stale}
    behind = (out for out in left_behind(frames) if out.ticker not in known_behind)
    return CalendarResult(
        experiment=model.experiment,
        source_note=bars.note,
        known_at=bars.known_at,
        listings=bars.bars.listings,
        frames=frames,
        folds=(),
        results=(),
        problems=tuple(row for row in bars.problems if row.ticker in wanted),
        excluded=(*(out for out in bars.excluded if out.ticker in wanted), *behind),
        stale=stale,
        unseen=not_trained_on(model.trained_on, found.forecasts),
        warnings=(*found.warnings, *([found.skipped] if found.skipped else [])),
        evaluation=None,
        forecasts=found.forecasts,
        publication=model.publication,
        weights=found.weights,
        restated=bars.restated,
        calendar_mismatches=bars.calendar_mismatches,
        model_version=_version_behind(issuer),
        ledger_chain=None if (first := entry_at(issuer.ledger, issuer.version.name, 1)) is None else first.digest,
    )


def _version_behind(issuer: Issuer) -> VersionReference:
    """Return the version that the newest forecasts were issued by: after a refit it is the champion no more."""
    last, present = issuer.last, issuer.version.reference(issuer.calendar)
    if last is None or last.provenance.version == present.number:
        return present
    return VersionReference(present.name, last.provenance.version, "", last.provenance.backtest)


def _summary(issuer: Issuer, result: CalendarResult, found: Issued) -> DailyCalendar:
    last, version = issuer.last, _version_behind(issuer)
    backtest = version.backtest
    return DailyCalendar(
        calendar=issuer.calendar,
        version=version.number,
        origin=str(result.frames.sessions[-1]),
        entry={"sequence": last.sequence, "digest": last.digest} if last else {},
        issued=[_issued_json(it) for it in found.sessions],
        skipped=found.skipped,
        graded=0,
        regraded=0,
        forecasts=json_forecasts(published_rows(found.forecasts)),
        backtest=None if backtest is None else {**asdict(backtest), "date": backtest.date.isoformat()},
        excluded=[asdict(out) for out in result.excluded],
        stale=[asdict(row) for row in result.stale],
        restated=[asdict(row) for row in result.restated],
        behind=found.behind,
        warnings=list(found.warnings),
    )


def _issued_json(it: IssuedSession) -> JsonObject:
    return {"session": str(it.session), "status": it.status, **asdict(it.appended), "stages": it.stages}
