"""The alerts of a daily run, of a run that failed, and of sessions that nothing issued."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import date, datetime, timedelta

from pipeline.errors import TapecastError
from pipeline.market.calendars import last_completed_session
from pipeline.operation.alerts import Alert, missing_alert
from pipeline.operation.ledger.database import open_ledger
from pipeline.operation.ledger.issues import LATE
from pipeline.operation.ledger.reading import last_entry
from pipeline.settings import Settings
from pipeline.sqlite import is_sqlite, sqlite_path
from pipeline.wording import count_of, names
from pipeline.workflow.daily_result import DailyCalendar, DailyResult, refit_sentence
from pipeline.workflow.result import JsonObject

REASON_CHARACTERS = 600
_PASSWORD = re.compile(r"(://[^\s:/@]*):\S*@")  # to the last @: a password may have some
_QUERY = re.compile(r"(https?://[^\s?'\"]+)\?[^\s'\"]+")


# --- A daily run ---


def daily_alerts(result: DailyResult) -> tuple[Alert, ...]:
    """Return the alerts of a daily run: at least one where its status is partial, else none.

    A day whose only fault is that sessions were issued late raises `late` alone: one fault is said once.
    """
    return (*_of_the_model(result), *(alert for calendar in result.calendars for alert in _of(result.model, calendar)))


def _of(model: str, calendar: DailyCalendar) -> Iterator[Alert]:
    """Yield the alerts of one calendar of a daily run."""
    session = date.fromisoformat(calendar.origin)
    late = [row["session"] for row in calendar.issued if row["status"] == LATE]
    if late:
        text = f"Issued late on {calendar.calendar}: {names(late)}."
        yield Alert("late", model, calendar.calendar, date.fromisoformat(late[-1]), text, {"sessions": len(late)})
    counts = {name: len(rows) for name in ("excluded", "stale", "warnings") if (rows := getattr(calendar, name))}
    if counts or (calendar.partial and not late):
        yield Alert("partial", model, calendar.calendar, session, _partial_sentence(calendar), counts)


def _partial_sentence(calendar: DailyCalendar) -> str:
    """Return which tickers are missing or old, and the first of the warnings."""
    issued = [row["session"] for row in calendar.issued if row["status"] not in ("on time", LATE)]
    parts = [
        f"excluded {names([row['ticker'] for row in calendar.excluded])}" if calendar.excluded else "",
        f"not up to date {names([row['ticker'] for row in calendar.stale])}" if calendar.stale else "",
        f"issued from old bars alone {names(issued)}" if issued else "",
        f"{count_of(len(calendar.warnings), 'warning')}, first: {calendar.warnings[0].rstrip('.')}"
        if calendar.warnings
        else "",
    ]
    return without_secrets(f"On {calendar.calendar}: {'; '.join(part for part in parts if part)}.")


def _of_the_model(result: DailyResult) -> Iterator[Alert]:
    """Yield the alert of what is no single calendar's: calendars that failed, an unreadable champion, a refit."""
    refused = result.refit if result.refit is not None and result.refit["status"] != "champion" else None
    parts = [
        f"nothing was issued for {names([row['ticker'] for row in result.failed])}" if result.failed else "",
        f"the champion cannot be read: {result.unreadable[0]['reason']}" if result.unreadable else "",
        f"a refit made no champion: {refit_sentence(refused)}" if refused else "",
    ]
    said = "; ".join(part for part in parts if part)
    if said:
        counts = {
            "failed": len(result.failed),
            "unreadable": len(result.unreadable),
            "refits_refused": int(bool(refused)),
        }
        known = {name: number for name, number in counts.items() if number}
        sessions = [date.fromisoformat(calendar.origin) for calendar in result.calendars]
        sentence = without_secrets(f"{said[0].upper()}{said[1:]}.")
        yield Alert("partial", result.model, "", max(sessions, default=None), sentence, known)


# --- A run that failed ---


def failed_alert(flow: str, parameters: Mapping[str, object], reason: str, now: datetime) -> Alert:
    """Return the alert of a run that ended with an error, from its flow's name and parameters.

    The session is the last one that had ended by `now` on the calendar that the run was for, where it names one. Of a
    flow that is about no model, its own name stands for it.
    """
    model, calendar = str(parameters.get("model") or flow), str(parameters.get("calendar") or "")
    text = f"Flow {flow} failed: {without_secrets(reason)}"
    return Alert("failed", model, calendar, _last_session(calendar, now) if calendar else None, text)


def _last_session(calendar: str, now: datetime) -> date | None:
    try:
        return date.fromisoformat(str(last_completed_session(calendar, now)))
    except TapecastError:  # an unknown calendar may be what the run failed of
        return None


def without_secrets(text: str) -> str:
    """Return a text of limited length without passwords and query parameters of addresses in it."""
    hidden = _QUERY.sub(r"\1?***", _PASSWORD.sub(r"\1:***@", text)).strip()
    return hidden if len(hidden) <= REASON_CHARACTERS else f"{hidden[:REASON_CHARACTERS]}…"


# --- Sessions that nothing issued ---


@dataclass(frozen=True)
class MissingResult:
    """What a look for sessions that were not issued found."""

    model: str
    calendar: str
    last_issued: date | None
    alerts: tuple[Alert, ...]

    @property
    def status(self) -> str:
        """Return "ok", or "partial" where a session is missing."""
        return "partial" if self.alerts else "ok"

    @property
    def sentence(self) -> str:
        """What was found, in a sentence."""
        found = f"No session of {self.calendar} is missing; the last one issued by {self.model} is {self.last_issued}."
        return self.alerts[0].sentence if self.alerts else found

    def as_json(self) -> JsonObject:
        """Return the result as a JSON object."""
        last = self.last_issued and self.last_issued.isoformat()
        alerts = [{**asdict(alert), "session": str(alert.session)} for alert in self.alerts]
        return {"status": self.status, "model": self.model, "calendar": self.calendar, "last": last, "alerts": alerts}

    def tables(self) -> Mapping[str, Sequence[JsonObject]]:
        """Return no table."""
        return {}


def missing(settings: Settings, model: str, calendar: str, now: datetime, grace: timedelta) -> MissingResult:
    """Look for sessions of a calendar that ended more than `grace` ago and that the ledger has no issue of.

    It reads the ledger and the exchange's calendar alone, so that it tells what a daily run that never began cannot.
    Raises LedgerError where the ledger cannot be read.
    """
    last = last_issued(settings, model, calendar)
    alert = missing_alert(model, calendar, last, now, grace)
    return MissingResult(model, calendar, last, (alert,) if alert else ())


def last_issued(settings: Settings, model: str, calendar: str) -> date | None:
    """Return the last session that the ledger has an issue of, None where it has none; makes no ledger."""
    url = settings.ledger_url
    if is_sqlite(url) and not sqlite_path(url).is_file():
        return None
    entry = last_entry(open_ledger(url), model, calendar)
    return None if entry is None else entry.last_origin
