"""The live record of a daily run: brought up to date from what was graded, and what it came to as plain values."""

from collections.abc import Sequence
from dataclasses import fields, replace

import numpy as np
import pandas as pd

from pipeline.errors import TapecastError
from pipeline.evaluation.comparisons import BASELINE_KINDS
from pipeline.evaluation.session_record import UNKNOWN_CUTS
from pipeline.operation.ledger.database import Ledger
from pipeline.operation.monitoring.live_record import LiveRecord, live_record
from pipeline.operation.monitoring.record_file import brought_up_to_date, new_record, read_record, write_record
from pipeline.operation.version_files import ModelVersion
from pipeline.settings import Settings
from pipeline.workflow.daily_issue import IssuedCalendar
from pipeline.workflow.daily_result import DailyResult
from pipeline.workflow.result import JsonObject
from pipeline.workflow.run_context import RunContext


def with_live_records(
    context: RunContext, ledger: Ledger, version: ModelVersion, result: DailyResult, issued: Sequence[IssuedCalendar]
) -> DailyResult:
    """Return the result of a day with the live record of each calendar.

    What was issued is not lost where a record cannot be made: a warning says so, and the next run makes it.
    """
    live, warnings = dict[str, JsonObject](), list[str]()
    for it in issued:
        try:
            live[it.bars.calendar] = as_json(up_to_date(context.settings, ledger, version, it))
        except TapecastError as error:
            warnings.append(f"The live record of calendar {it.bars.calendar} could not be made: {error}")
    calendars = tuple(replace(it, live=live.get(it.calendar)) for it in result.calendars)
    return replace(result, calendars=calendars, warnings=(*result.warnings, *warnings))


def up_to_date(settings: Settings, ledger: Ledger, version: ModelVersion, issued: IssuedCalendar) -> LiveRecord:
    """Return the live record of a calendar after what was graded; its file is made whole again where it is lost.

    Raises LedgerError, and UsageError where the file cannot be written.
    """
    folder, calendar = settings.models / version.name, issued.bars.calendar
    stored = read_record(folder, calendar)
    since = None if stored is None else issued.graded_since
    if stored is None or since is not None:
        promise = version.models[calendar].promise
        cuts = promise.cuts if promise else UNKNOWN_CUTS
        before = new_record() if stored is None else stored
        stored = brought_up_to_date(before, ledger, version.name, issued.frames, cuts, since)
        write_record(folder, calendar, stored)
    return live_record(stored, BASELINE_KINDS)


def as_json(record: LiveRecord) -> JsonObject:
    """Return the tables of a live record as lists of objects: days as text, what is not known as None."""
    return {field.name: _rows(getattr(record, field.name)) for field in fields(record)}


def _rows(table: pd.DataFrame) -> list[JsonObject]:
    days = {name: table[name].dt.strftime("%Y-%m-%d") for name in ("first", "last") if name in table}
    rows = table.assign(**days).astype(object).replace({np.nan: None}).to_dict("records")
    return [{str(name): value for name, value in row.items()} for row in rows]
