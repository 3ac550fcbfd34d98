"""Alerts: what a person has to be told of the operation, as values and as messages.

Each kind is an event of a stated name, `tapecast.<kind>`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Literal, get_args

from pipeline.arrays import Sessions
from pipeline.errors import TapecastError
from pipeline.market.calendars import last_completed_session, sessions_between

AlertKind = Literal["partial", "failed", "late", "missing", "decayed", "rolled_back", "drift"]
KINDS: tuple[AlertKind, ...] = get_args(AlertKind)
EVENT_PREFIX = "tapecast."

MEANINGS: Mapping[AlertKind, str] = {
    "partial": "a daily run could not do all: a ticker, a calendar, the champion or a refit is missing",
    "failed": "a run ended with an error, or its process was killed",
    "late": "a session was issued after the next one had opened; it is not counted with those issued on time",
    "missing": "a session has closed and was not issued, or nothing works on the deployments",
    "decayed": "the live forecasts are worse than the backtest promised",
    "rolled_back": "the champion before forecasts again",
    "drift": "features or losses differ from those that the model was trained on",
}
ADVICE: Mapping[AlertKind, str] = {
    "partial": "Read the run's artifacts: they name each ticker and step with its reason. The next run tries again.",
    "failed": "Read the run's log and correct the cause, then run the deployment again: finished fits are kept.",
    "late": "Nothing for this session: it stands as late. Find out why the run of that day did not issue it.",
    "missing": "See whether worker and Prefect server run, then run the deployment: it issues what it can, as late.",
    "decayed": "Compare the live record with the backtest's promise, and decide on a refit or a roll-back.",
    "rolled_back": "Read the reason stored with the version; `tapecast model rollback` undoes it.",
    "drift": "Look at the features and losses that are named; a refit may be due.",
}


@dataclass(frozen=True)
class Alert:
    """What a person has to be told: its kind, the model and calendar it is about, and the session.

    `calendar` is empty where it is about all calendars of the model, `session` None where it is about none. `sentence`
    says what was found, and `numbers` has the counts and measures in it by name. Nothing here may be a secret.
    """

    kind: AlertKind
    model: str
    calendar: str
    session: date | None
    sentence: str
    numbers: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise TapecastError(f"found the kind of alert {self.kind!r}, expected one of {', '.join(KINDS)}")
        if not self.model or not self.sentence:
            raise TapecastError(f"found an alert {self.kind} without a model or a sentence, expected both")

    @property
    def event(self) -> str:
        """The name of its event."""
        return EVENT_PREFIX + self.kind


def subject(alert: Alert) -> str:
    """Return the subject of its message: "Tapecast missing: daily, XNYS, 2024-07-03"."""
    what = alert.kind.replace("_", " ")
    session = [] if alert.session is None else [alert.session.isoformat()]
    return f"Tapecast {what}: {', '.join([alert.model, *([alert.calendar] if alert.calendar else []), *session])}"


def body(alert: Alert, link: str | None = None) -> str:
    """Return the text of its message: what was found, of which model and session, what to do, and where to look."""
    session = f"session {alert.session}" if alert.session else "no single session"
    about = f"Model {alert.model}, {f'calendar {alert.calendar}' if alert.calendar else 'all calendars'}, {session}."
    numbers = ", ".join(f"{name.replace('_', ' ')} {value:.6g}" for name, value in alert.numbers.items())
    lines = (alert.sentence, about, f"Numbers: {numbers}." if numbers else "", f"What to do: {ADVICE[alert.kind]}")
    return "\n".join(line for line in (*lines, link or "") if line)


def overdue_sessions(calendar: str, last_issued: date | None, now: datetime, grace: timedelta) -> Sessions:
    """Return the sessions after the last one issued that ended at least `grace` before `now`, as datetime64[D].

    Only days of the exchange count, each from the instant at which it ended: a weekend, a holiday or an early close
    makes none overdue that is not. Where nothing was ever issued, the last such session alone.
    """
    last = last_completed_session(calendar, now - grace)
    first = last if last_issued is None else last_issued + timedelta(days=1)
    return sessions_between(calendar, first, last)


def missing_alert(model: str, calendar: str, last_issued: date | None, now: datetime, grace: timedelta) -> Alert | None:
    """Return the alert of the sessions that are overdue, None where there are none; see `overdue_sessions`."""
    overdue = overdue_sessions(calendar, last_issued, now, grace)
    if not len(overdue):
        return None
    which = f"session {overdue[0]}" if len(overdue) == 1 else f"{len(overdue)} sessions, {overdue[0]} to {overdue[-1]},"
    known = "Nothing was ever issued" if last_issued is None else f"The last session issued is {last_issued}"
    hours = grace.total_seconds() / 3600
    sentence = f"Not issued: {which} of {calendar}, more than {hours:g} h after the close. {known}."
    return Alert("missing", model, calendar, overdue[-1].item(), sentence, {"sessions": len(overdue)})
