"""The daily page of a run: its values from the ledger, the day's results and the model version, written as files.

`TAPECAST_HOME/reports/MODEL/` has a folder per day, named by the newest origin, and the index of days. A second run
of a day replaces its folder's files.
"""

import json
import traceback
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from os.path import relpath
from pathlib import Path

import numpy as np

from pipeline.errors import TapecastError
from pipeline.evaluation.comparisons import BASELINE_KINDS
from pipeline.files import write_whole
from pipeline.market.bars import Problem, Severity
from pipeline.market.calendars import sessions_between
from pipeline.operation.ledger.database import Ledger
from pipeline.operation.ledger.reading import exported
from pipeline.operation.model import Model
from pipeline.operation.monitoring.live_record import live_record
from pipeline.operation.version_files import ModelVersion
from pipeline.reporting.daily_page import (
    CalendarDay,
    DailyPage,
    DataState,
    DaySummary,
    ModelState,
    NamedReason,
    daily_html,
    day_summary,
    forecasts_csv,
    index_html,
    page_json,
)
from pipeline.reporting.daily_rows import TickerFacts, TickerRow, ticker_rows
from pipeline.settings import Settings
from pipeline.wording import count_of
from pipeline.workflow.daily_issue import IssuedCalendar
from pipeline.workflow.daily_result import (
    DailyCalendar,
    DailyResult,
    calendar_from_json,
    daily_sentences,
    refit_sentence,
)
from pipeline.workflow.live_record import as_json
from pipeline.workflow.refit_due import next_refit_sentence
from pipeline.workflow.result import JsonObject
from pipeline.workflow.run_context import RunContext

INDEX, DATA, CSV, SUMMARY = "index.html", "day.json", "forecasts.csv", "summary.json"
MAX_QUARANTINED = 50
SESSIONS_BACK = 5
"""A forecast for the latest session is looked for among those from so many sessions before it."""
WHOLE_SESSIONS = 100_000
"""A window that counts all sessions of a backtest."""
UNWRITTEN = "The daily page could not be written"
UNDECIDED = "Whether one is due is decided after this page was first written; it is written again then."


@dataclass(frozen=True)
class DaySources:
    """What the page of a day is collected from: the ledger, the version that forecast, and what was issued."""

    ledger: Ledger
    version: ModelVersion
    issued: Mapping[str, IssuedCalendar]  # by calendar


def with_daily_page(context: RunContext, sources: DaySources, result: DailyResult, refit: str) -> DailyResult:
    """Return the result with where its page was written; `refit` says what came of a refit, or that none was due.

    What was issued is the result, and no fault of the page loses it: a warning says what was found, that of an earlier
    try of the run goes.
    """
    others = tuple(text for text in result.warnings if not text.startswith(UNWRITTEN))
    result = replace(result, warnings=others, page=None)
    try:
        with sources.ledger.held_open():
            page = collected(context, sources, result, refit)
        return replace(result, page=str(write_page(context.settings.reports / result.model, page)))
    except Exception as error:  # noqa: BLE001  reported as a warning, and a fault of ours with its traceback
        found = str(error)
        if not isinstance(error, TapecastError):
            context.progress.message("".join(traceback.format_exception(error)))
            found = f"{type(error).__name__}: {error}"
        return replace(result, warnings=(*others, f"{UNWRITTEN}: {found}"))


# --- Values ---


def collected(context: RunContext, sources: DaySources, result: DailyResult, refit: str) -> DailyPage:
    """Return the page of a day: the calendars of the run, and the model's others as their last day's file has them."""
    present = {it.calendar for it in result.calendars}
    others = _days_of_others(context.settings, sources.version, present)
    calendars = [*result.calendars, *others]
    folder = context.settings.reports / result.model
    day = max(it.origin for it in calendars)
    return DailyPage(
        model=result.model,
        day=day,
        made_at=f"{context.clock():%Y-%m-%d %H:%M}",
        status=result.status,
        rows=tuple(row for it in calendars for row in sorted(_rows(sources, it), key=lambda row: row.ticker)),
        calendars=tuple(_calendar_day(sources, it, folder / day) for it in calendars),
        refit=refit,
        warnings=result.warnings,
        failed=_reasons(result.failed),
    )


def _days_of_others(settings: Settings, version: ModelVersion, present: set[str]) -> list[DailyCalendar]:
    """Return the newest readable day of each calendar of the model that a run was not for."""
    found = (_newest_day(settings.days / version.name, code) for code in version.models if code not in present)
    return [it for it in found if it is not None]


def _newest_day(folder: Path, calendar: str) -> DailyCalendar | None:
    for path in sorted(folder.glob(f"????-??-??-{calendar.replace('/', '-')}.json"), reverse=True):
        try:
            return calendar_from_json(json.loads(path.read_text()))
        except (OSError, ValueError, TypeError, KeyError):  # as day_file.read_day: the day before is shown instead
            continue
    return None


def _rows(sources: DaySources, calendar: DailyCalendar) -> tuple[TickerRow, ...]:
    issued = sources.issued.get(calendar.calendar)
    facts = TickerFacts(
        calendar.calendar,
        calendar.origin,
        issued.result.currencies if issued else {},
        issued.result.unseen if issued else (),
    )
    origin = np.datetime64(calendar.origin)
    sessions = sessions_between(calendar.calendar, origin - np.timedelta64(60, "D"), origin)[-1 - SESSIONS_BACK : -1]
    since, until = (_date(it) for it in (sessions[0], sessions[-1]))
    earlier = exported(sources.ledger, sources.version.name, since, until)
    return ticker_rows(calendar.forecasts, earlier, facts)


def _date(session: np.datetime64) -> date:
    return date.fromisoformat(str(session.astype("datetime64[D]")))


def _calendar_day(sources: DaySources, calendar: DailyCalendar, folder: Path) -> CalendarDay:
    """Return one calendar's day; `folder` is that of the page, which the report's address is relative to."""
    model, issued = sources.version.models[calendar.calendar], sources.issued.get(calendar.calendar)
    done = daily_sentences(replace(calendar, excluded=[], stale=[], warnings=[], restated=[], backtest=None))
    return CalendarDay(
        calendar=calendar.calendar,
        origin=calendar.origin,
        model=ModelState(calendar.version, tuple(_model_sentences(sources.version, calendar))),
        data=_data_state(calendar, issued.result.problems if issued else ()),
        live=calendar.live,
        promise=promised(model),
        done=tuple(done),
        warnings=tuple(calendar.warnings),
        report=relpath(calendar.report, folder) if calendar.report else None,
        mlflow_url=calendar.mlflow_url,
    )


def promised(model: Model) -> JsonObject | None:
    """Return the tables of the live record as the whole backtest of a model has them, None where it has no record."""
    if model.promise is None:
        return None
    return as_json(live_record(model.promise.table, BASELINE_KINDS, (WHOLE_SESSIONS,)))


def _model_sentences(version: ModelVersion, calendar: DailyCalendar) -> Iterator[str]:
    yield f"Version {calendar.version} of model {version.name} forecast the {calendar.calendar} tickers."
    if calendar.backtest:
        yield f"Its backtest of {calendar.backtest['date']}: {calendar.backtest['verdict']}"
    if calendar.version == version.number:
        until = version.models[calendar.calendar].trained_until
        yield f"It was trained until {until}. {version.description.takeover.sentence}"


def _data_state(calendar: DailyCalendar, problems: Sequence[Problem]) -> DataState:
    lost = [it for it in problems if it.severity in (Severity.ROWS, Severity.TICKER)]
    newest = sorted(lost, key=lambda it: it.session, reverse=True)[:MAX_QUARANTINED]
    return DataState(
        behind_sessions=calendar.behind,
        excluded=_reasons(calendar.excluded),
        stale=tuple(
            NamedReason(
                row["ticker"],
                f"{count_of(row['age_sessions'], 'session')} old: {row['reason']}",
                row["last_session"],
            )
            for row in calendar.stale
        ),
        restated=tuple(NamedReason(row["ticker"], row["what"]) for row in calendar.restated),
        quarantined=tuple(NamedReason(it.ticker, _found(it), it.session) for it in newest),
        quarantined_count=len(lost),
    )


def _found(problem: Problem) -> str:
    counted = f"{count_of(problem.rows, 'row')} {'truncated' if problem.fatal else 'quarantined'}"
    return f"{counted}: found {problem.found}, expected {problem.expected}"


def _reasons(rows: Sequence[JsonObject]) -> tuple[NamedReason, ...]:
    return tuple(NamedReason(row["ticker"], row["reason"]) for row in rows)


def refit_in_words(refit: JsonObject | None, version: ModelVersion) -> str:
    """Return what came of a refit in a sentence, or why none was due and when the next one is."""
    if refit is not None:
        made = refit_sentence(refit)
        return f"{made[0].upper()}{made[1:]}"
    return f"None was due. {' '.join(next_refit_sentence(code, model) for code, model in version.models.items())}"


# --- Files ---


def write_page(folder: Path, page: DailyPage) -> Path:
    """Write the files of a page and the index of days into a model's folder, each whole; return the page's path.

    Raises UsageError where they cannot be written.
    """
    day = folder / page.day
    contents = {
        DATA: page_json(page),
        CSV: forecasts_csv(page.rows),
        SUMMARY: json.dumps(asdict(day_summary(page))),
        INDEX: daily_html(page),
    }
    for name, content in contents.items():
        write_whole(day / name, content.encode("utf-8", "replace"))
    write_whole(folder / INDEX, index_html(page.model, list(_summaries(folder))).encode("utf-8", "replace"))
    return day / INDEX


def _summaries(folder: Path) -> Iterator[DaySummary]:
    """Yield the summary of each day that has one which can be read."""
    for path in sorted(folder.glob(f"????-??-??/{SUMMARY}")):
        try:
            values = json.loads(path.read_text())
            yield DaySummary(**{**values, "versions": tuple(values["versions"])})
        except (OSError, ValueError, TypeError, KeyError):  # its page stays, and the day is written again if it is run
            continue
