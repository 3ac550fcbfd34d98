"""The result of a use case as plain values, with one way to JSON and one to tables."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import pandas as pd

from pipeline.errors import TapecastError

JsonObject = dict[str, Any]


class UseCaseResult(Protocol):
    """What every use case returns: its status, and the same content as JSON and as tables."""

    @property
    def status(self) -> str:
        """Return "ok", or "partial" where something could not be done."""

    def as_json(self) -> JsonObject:
        """Return the object that --json prints."""

    def tables(self) -> Mapping[str, list[JsonObject]]:
        """Return the tables of the result by name, as rows of plain values; none of them is empty."""


@dataclass(frozen=True)
class BacktestSummary:
    """What a backtest showed on one calendar, as plain JSON values; None where a number is not defined.

    `tickers` has the verdict's conclusion on each, `echo` the name of what the model's median is, `median` the numbers
    behind it, `money_entry_bps` the size that a median must exceed to be traded, `network_adds` by horizon the
    combination against itself without the network, `weights` the mean share of each of its members in the band by
    horizon, `summary_table` statistics and money of every forecaster, and `trials` how many specifications were tried
    (None: that could not be read).
    """

    verdict: str
    scores: dict[str, dict[str, JsonObject]]
    skill: dict[str, JsonObject]
    dm_p: dict[str, JsonObject]
    model: str
    tickers: dict[str, str]
    echo: str
    echo_in_short: str
    median: JsonObject
    money: str | None
    money_entry_bps: float
    network_adds: list[JsonObject]
    weights: dict[str, dict[str, float]]
    summary_table: list[JsonObject]
    trials: JsonObject


@dataclass(frozen=True)
class CalendarSummary:
    """The result on one calendar as plain JSON values; a backtest has no forecasts, a forecast no backtest.

    `calendar_mismatches` says which bars do not fit the calendar that they are read on (`sentence`: and what to do).
    `publication` has the forecaster shown by horizon (and ticker, where it differs), `instead` the same in sentences
    where that is a baseline. `recorded` is False where MLflow does not have the run yet; a warning says why.
    `model_version` names the version that forecast, or that the run's models were published as, with the backtest
    behind it and whether it became the champion; None where nothing was published. `shares` says which forecasters the
    bands of the forecast come from.
    """

    status: str
    calendar: str
    known_at: str | None
    note: str
    calendar_mismatches: list[JsonObject]
    warnings: list[str]
    excluded: list[JsonObject]
    stale: list[JsonObject]
    restated: list[JsonObject]
    unseen: list[str]
    publication: JsonObject
    instead: list[str]
    model_version: JsonObject | None
    mlflow_run_id: str | None
    mlflow_url: str | None
    recorded: bool
    report: str | None
    seconds: dict[str, float]
    forecasts: list[JsonObject] | None
    shares: list[str]
    backtest: BacktestSummary | None

    @property
    def version_in_words(self) -> str:
        """The version that forecast and its backtest, or what a run was published as; empty without a version."""
        if self.model_version is None:
            return ""
        version = self.model_version
        if self.backtest is None:
            return str(version["sentence"])
        return f"Published as version {version['number']} of model {version['name']}. {version['takeover']}"

    def as_json(self) -> JsonObject:
        """Return the calendar as one flat object."""
        values = asdict(self)
        backtest = values.pop("backtest") or {}
        if values["forecasts"] is None:
            del values["forecasts"]
        return {**values, **backtest}


@dataclass(frozen=True)
class Result:
    """The result of a run, backtest or forecast: a summary per exchange calendar.

    `failed` are the tickers of calendars on which nothing could be done, `shared_seconds` those of the stages that the
    calendars share.
    """

    calendars: tuple[CalendarSummary, ...]
    failed: tuple[JsonObject, ...] = ()
    shared_seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """Return "ok", or "partial" where a ticker was excluded, or bars are stale or do not fit the calendar."""
        return "partial" if self.failed or any(summary.status == "partial" for summary in self.calendars) else "ok"

    @property
    def recorded(self) -> bool:
        """Whether MLflow has the run of every calendar."""
        return all(summary.recorded for summary in self.calendars)

    @property
    def verdict(self) -> str | None:
        """The verdict, of several calendars a line each; None without a backtest."""
        verdicts = [(summary.calendar, summary.backtest.verdict) for summary in self.calendars if summary.backtest]
        if len(self.calendars) == 1:
            return verdicts[0][1] if verdicts else None
        return "\n".join(f"{calendar}: {verdict}" for calendar, verdict in verdicts) or None

    @property
    def forecasts(self) -> list[JsonObject]:
        """The published forecasts of every calendar; none after a backtest."""
        return [row for summary in self.calendars for row in summary.forecasts or []]

    @property
    def excluded(self) -> list[JsonObject]:
        """The excluded tickers with their reasons."""
        return [*self.failed, *(row for summary in self.calendars for row in summary.excluded)]

    @property
    def stale(self) -> list[JsonObject]:
        """The tickers that are not up to date, with their reasons."""
        return [row for summary in self.calendars for row in summary.stale]

    @property
    def restated(self) -> list[JsonObject]:
        """The tickers whose source reported other values for stored bars, and which."""
        return [row for summary in self.calendars for row in summary.restated]

    @property
    def unseen(self) -> list[str]:
        """The tickers that are forecast though the model was not trained on them."""
        return [ticker for summary in self.calendars for ticker in summary.unseen]

    @property
    def calendar_mismatches(self) -> list[JsonObject]:
        """The calendars that the bars of most of their tickers do not fit."""
        return [row for summary in self.calendars for row in summary.calendar_mismatches]

    @property
    def warnings(self) -> list[str]:
        """The sentences that qualify every number, each once."""
        return list(dict.fromkeys(warning for summary in self.calendars for warning in summary.warnings))

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds of every stage, summed over the calendars."""
        parts = [self.shared_seconds, *(summary.seconds for summary in self.calendars)]
        stages = dict.fromkeys(stage for part in parts for stage in part)
        return {stage: round(sum(part.get(stage, 0.0) for part in parts), 3) for stage in stages}

    def as_json(self) -> JsonObject:
        """Return the object that --json prints; one of several calendars has the list `calendars`."""
        if len(self.calendars) == 1 and not self.failed:
            return {**self.calendars[0].as_json(), "seconds": self.seconds}
        first = self.calendars[0]
        values: JsonObject = {
            "status": self.status,
            "verdict": self.verdict,
            "recorded": self.recorded,
            "known_at": first.known_at,
            "note": first.note,
            "calendar_mismatches": self.calendar_mismatches,
            "warnings": self.warnings,
            "excluded": self.excluded,
            "stale": self.stale,
            "restated": self.restated,
            "unseen": self.unseen,
            "seconds": self.seconds,
            "calendars": [summary.as_json() for summary in self.calendars],
        }
        return values | ({"forecasts": self.forecasts} if self.forecasts else {})

    def tables(self) -> dict[str, list[JsonObject]]:
        """Return the forecasts, and the tickers that are excluded or not up to date."""
        tables = {"forecasts": self.forecasts, "excluded": self.excluded, "stale": self.stale}
        return {name: rows for name, rows in tables.items() if rows}


def failure_json(error: BaseException) -> JsonObject:
    """Return the object that --json prints for a command that ended with an error."""
    reason = str(error) if isinstance(error, TapecastError) else f"{type(error).__name__}: {error}"
    return {"status": "failed", "error": reason, "excluded": [asdict(out) for out in getattr(error, "excluded", ())]}


def json_rows(table: pd.DataFrame) -> list[JsonObject]:
    """Return the rows of a table as plain JSON values."""
    return [{str(name): plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def plain(value: Any) -> Any:
    """Return a value as JSON has it: Python's own numbers, and None in place of NaN."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
