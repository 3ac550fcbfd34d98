"""The result of the daily use case: what was issued, graded and refitted, as plain values."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace

from pipeline.wording import count_of, exclusion_sentence, restated_sentence, stale_sentence
from pipeline.workflow.result import JsonObject


@dataclass(frozen=True)
class DailyCalendar:
    """One calendar of a daily run as plain JSON values.

    `origin` is the last session that forecasts were issued from, `entry` the ledger's last entry (sequence, digest),
    `issued` the sessions that were issued with it, `skipped` why there are none or some are missing. `forecasts` are
    the published ones as the ledger has them; `version` is the model version that issued them, `backtest` the one
    behind it; `live` is the live record (operation.monitoring.live_record) after what was graded. `behind` counts the
    completed sessions whose bars are not there yet. `logged` is whether a record was written, `recorded` whether MLflow
    has it.
    """

    calendar: str
    version: int
    origin: str
    entry: JsonObject
    issued: list[JsonObject]
    skipped: str
    graded: int
    regraded: int
    forecasts: list[JsonObject]
    backtest: JsonObject | None
    excluded: list[JsonObject]
    stale: list[JsonObject]
    restated: list[JsonObject]
    behind: int
    warnings: list[str]
    mlflow_run_id: str | None = None
    mlflow_url: str | None = None
    report: str | None = None
    logged: bool = False
    recorded: bool = False
    live: JsonObject | None = None

    @property
    def partial(self) -> bool:
        """Whether a ticker is missing or old, a session could not be issued on time, or a warning has to be read."""
        late = any(row["status"] != "on time" for row in self.issued)
        return bool(self.excluded or self.stale or late or self.warnings)


@dataclass(frozen=True)
class DailyResult:
    """What a daily run did, by calendar, and the refit that it made where one was due.

    `failed` are the tickers of calendars on which nothing could be issued, `refit` says what came of a refit, and
    `unreadable` are the versions that would have been used first, had they been readable: number and reason. `page` is
    the path of the day's page, None until it is written.
    """

    model: str
    calendars: tuple[DailyCalendar, ...]
    failed: tuple[JsonObject, ...] = ()
    warnings: tuple[str, ...] = ()
    refit: JsonObject | None = None
    unreadable: tuple[JsonObject, ...] = ()
    page: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """Return "ok", or "partial" where a ticker, a session or the champion is missing, or a refit gave none."""
        refused = self.refit is not None and self.refit["status"] != "champion"
        partial = self.failed or self.unreadable or refused or any(calendar.partial for calendar in self.calendars)
        return "partial" if partial else "ok"

    @property
    def unfinished(self) -> str:
        """Why a later try may issue more: no bar of a completed session has come yet, as of a source that refuses."""
        waiting = [it for it in self.calendars if it.behind and it.stale]
        return "; ".join(f"calendar {it.calendar}: {it.skipped}, {it.stale[0]['reason']}" for it in waiting)

    @property
    def recorded(self) -> bool:
        """Whether MLflow has the record of every calendar."""
        return all(calendar.recorded for calendar in self.calendars)

    def as_json(self) -> JsonObject:
        """Return the object that --json prints."""
        return {"status": self.status, "recorded": self.recorded, **asdict(self)}

    def tables(self) -> Mapping[str, list[JsonObject]]:
        """Return the forecasts, what was issued, and the tickers that are excluded or not up to date."""
        rows: dict[str, list[JsonObject]] = {"forecasts": [], "issued": [], "excluded": [*self.failed], "stale": []}
        for calendar in self.calendars:
            for name in rows:
                rows[name] += getattr(calendar, name)
        return {name: of_name for name, of_name in rows.items() if of_name}


def daily_sentences(calendar: DailyCalendar) -> Iterator[str]:
    """Yield what a daily run did on a calendar, in sentences."""
    for row in calendar.issued:
        yield (
            f"Issued {row['session']} ({row['status']}): {count_of(row['added'], 'row')} in entry {row['sequence']} of "
            f"the ledger, digest {row['digest'][:12]}."
        )
    if calendar.skipped:
        yield f"{calendar.skipped[0].upper()}{calendar.skipped[1:]}."
    regraded = f", {count_of(calendar.regraded, 'revision')} of restated ones" if calendar.regraded else ""
    yield f"Graded {count_of(calendar.graded, 'forecast')}{regraded}."
    if calendar.backtest:
        run_id, made = calendar.backtest["mlflow_run_id"], calendar.backtest["date"]
        yield f"Version {calendar.version}, backtest of {made} (run {run_id}): {calendar.backtest['verdict']}"
    for row in calendar.excluded:
        yield exclusion_sentence(row["ticker"], row["reason"])
    for row in calendar.stale:
        yield stale_sentence(row["ticker"], row["age_sessions"], row["reason"])
    yield from calendar.warnings
    for row in calendar.restated:
        yield restated_sentence(row["ticker"], row["what"])


def refit_sentence(refit: JsonObject) -> str:
    """Return what came of a refit, in a sentence."""
    if refit["status"] == "failed":
        return f"{refit['reason']}; it failed: {refit['error']}"
    return f"{refit['reason']}; version {refit['version']}. {refit['sentence']}"


def calendar_from_json(values: JsonObject) -> DailyCalendar:
    """Return the calendar of a day's JSON; raises TypeError or KeyError where it is something else."""
    return DailyCalendar(**{field.name: values[field.name] for field in fields(DailyCalendar)})


def after(stored: DailyCalendar | None, new: DailyCalendar) -> DailyCalendar:
    """Return what a run did, after an earlier one of the same day whose result is stored.

    What was issued and found restated then stays listed; where nothing was issued since, the record of then is that of
    the day.
    """
    if stored is None:
        return new
    graded, regraded = stored.graded + new.graded, stored.regraded + new.regraded
    restated = [*stored.restated, *(row for row in new.restated if row not in stored.restated)]
    both = replace(new, issued=[*stored.issued, *new.issued], graded=graded, regraded=regraded, restated=restated)
    if new.issued:
        return both
    record = ("mlflow_run_id", "mlflow_url", "report", "logged", "recorded")
    return replace(both, **{name: getattr(stored, name) for name in record})
