"""The result of a use case as plain values, with one way to JSON and one to tables."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import pandas as pd

from pipeline.errors import TapecastError
from pipeline.evaluation.comparisons import pooled
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.scores import POOLED
from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.operation.publication import Publication, published_rows
from pipeline.operation.result import CalendarResult
from pipeline.reporting.forecast_tables import baseline_substitutions, published_forecasters
from pipeline.reporting.money_tables import money_in_short
from pipeline.reporting.score_tables import echo_in_short

if TYPE_CHECKING:  # they bring mlflow, and the results of quick commands do without
    from pipeline.workflow.over_calendars import RecordedRun
    from pipeline.workflow.recording import RecordedResult

SCORE_NAMES = (
    "pinball",
    "pinball_error",
    "crps",
    "coverage_50",
    "coverage_80",
    "coverage_80_error",
    "coverage_90",
    "winkler_80",
    "rmse_return",
    "directional_accuracy",
)
FORECAST_NAMES = (
    *("ticker", "as_of", "horizon", "target_session", "forecaster", "reference_close", "age_sessions"),
    *QUANTILE_COLUMNS,
)

Row = dict[str, Any]


class UseCaseResult(Protocol):
    """What every use case returns: its status, and the same content as JSON and as tables."""

    @property
    def status(self) -> str:
        """Return "ok", or "partial" where something could not be done."""

    def as_json(self) -> Row:
        """Return the object that --json prints."""

    def tables(self) -> Mapping[str, list[Row]]:
        """Return the tables of the result by name, as rows of plain values; none of them is empty."""


@dataclass(frozen=True)
class BacktestSummary:
    """What a backtest showed on one calendar, as plain JSON values; None where a number is not defined.

    `tickers` has the verdict's conclusion on each, `echo` the name of what the model's median is, `summary_table`
    statistics and money of every forecaster, and `trials` how many specifications were tried.
    """

    verdict: str
    scores: dict[str, dict[str, Row]]
    skill: dict[str, Row]
    dm_p: dict[str, Row]
    model: str
    tickers: dict[str, str]
    echo: str
    echo_in_short: str
    money: str | None
    summary_table: list[Row]
    trials: Row


@dataclass(frozen=True)
class CalendarSummary:
    """The result on one calendar as plain JSON values; a backtest has no forecasts, a forecast no backtest.

    `publication` has the forecaster shown by horizon (and ticker, where it differs), `instead` the same in sentences
    where that is a baseline.
    """

    status: str
    calendar: str
    known_at: str | None
    note: str
    warnings: list[str]
    excluded: list[Row]
    stale: list[Row]
    unseen: list[str]
    publication: Row
    instead: list[str]
    mlflow_run_id: str
    mlflow_url: str
    report: str
    seconds: dict[str, float]
    forecasts: list[Row] | None
    backtest: BacktestSummary | None

    def as_json(self) -> Row:
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
    failed: tuple[Row, ...] = ()
    shared_seconds: Mapping[str, float] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """Return "ok", or "partial" where a ticker was excluded or its bars are stale."""
        return "partial" if self.failed or any(one.status == "partial" for one in self.calendars) else "ok"

    @property
    def verdict(self) -> str | None:
        """The verdict, of several calendars a line each; None without a backtest."""
        found = [(one.calendar, one.backtest.verdict) for one in self.calendars if one.backtest]
        if len(self.calendars) == 1:
            return found[0][1] if found else None
        return "\n".join(f"{calendar}: {verdict}" for calendar, verdict in found) or None

    @property
    def forecasts(self) -> list[Row]:
        """The published forecasts of every calendar; none after a backtest."""
        return [row for one in self.calendars for row in one.forecasts or []]

    @property
    def excluded(self) -> list[Row]:
        """The excluded tickers with their reasons."""
        return [*self.failed, *(row for one in self.calendars for row in one.excluded)]

    @property
    def stale(self) -> list[Row]:
        """The tickers that are not up to date, with their reasons."""
        return [row for one in self.calendars for row in one.stale]

    @property
    def unseen(self) -> list[str]:
        """The tickers that are forecast though the model was not trained on them."""
        return [ticker for one in self.calendars for ticker in one.unseen]

    @property
    def warnings(self) -> list[str]:
        """The sentences that qualify every number, each once."""
        return list(dict.fromkeys(warning for one in self.calendars for warning in one.warnings))

    @property
    def seconds(self) -> dict[str, float]:
        """The seconds of every stage, summed over the calendars."""
        parts = [self.shared_seconds, *(one.seconds for one in self.calendars)]
        stages = dict.fromkeys(stage for part in parts for stage in part)
        return {stage: round(sum(part.get(stage, 0.0) for part in parts), 3) for stage in stages}

    def as_json(self) -> Row:
        """Return the object that --json prints; one of several calendars has the list `calendars`."""
        if len(self.calendars) == 1 and not self.failed:
            return {**self.calendars[0].as_json(), "seconds": self.seconds}
        first = self.calendars[0]
        values: Row = {
            "status": self.status,
            "verdict": self.verdict,
            "known_at": first.known_at,
            "note": first.note,
            "warnings": self.warnings,
            "excluded": self.excluded,
            "stale": self.stale,
            "unseen": self.unseen,
            "seconds": self.seconds,
            "calendars": [one.as_json() for one in self.calendars],
        }
        return values | ({"forecasts": self.forecasts} if self.forecasts else {})

    def tables(self) -> dict[str, list[Row]]:
        """Return the forecasts, and the tickers that are excluded or not up to date."""
        tables = {"forecasts": self.forecasts, "excluded": self.excluded, "stale": self.stale}
        return {name: rows for name, rows in tables.items() if rows}


def result_of(finished: "RecordedRun") -> Result:
    """Return the result of a finished run, over all its calendars."""
    return Result(
        calendars=tuple(summary_of(one) for one in finished.results),
        failed=tuple(asdict(out) for out in finished.excluded),
        shared_seconds=finished.seconds,
    )


def summary_of(recorded: "RecordedResult") -> CalendarSummary:
    """Return the summary of the result on one calendar."""
    result = recorded.result
    return CalendarSummary(
        status=result.status,
        calendar=result.calendar,
        known_at=result.known_at.isoformat() if result.known_at else None,
        note=result.source_note,
        warnings=list(result.warnings),
        excluded=[asdict(out) for out in result.excluded],
        stale=[asdict(one) for one in result.stale],
        unseen=list(result.unseen),
        publication=publication_values(result.publication),
        instead=instead_of(result),
        mlflow_run_id=recorded.run_id,
        mlflow_url=recorded.url,
        report=str(recorded.report),
        seconds=recorded.seconds,
        forecasts=None if result.forecasts is None else forecast_rows(result.forecasts),
        backtest=None if result.evaluation is None else backtest_summary(result.evaluation),
    )


def backtest_summary(evaluation: Evaluation) -> BacktestSummary:
    """Return what a backtest showed."""
    verdict, trials = evaluation.verdict, evaluation.trials
    return BacktestSummary(
        verdict=verdict.sentence,
        scores=pooled_scores(evaluation),
        skill=_against(evaluation, "skill"),
        dm_p=_against(evaluation, "p_adjusted"),
        model=verdict.model,
        tickers=dict(verdict.tickers),
        echo=verdict.echo.name,
        echo_in_short=echo_in_short(verdict.echo),
        money=money_in_short(evaluation) or None,
        summary_table=plain_rows(evaluation.summary_table),
        trials={"tested": trials.tested, "tuned": trials.tuned, "total": trials.total},
    )


def publication_values(chosen: Publication) -> Row:
    """Return the model, the forecaster shown by horizon for all tickers, and by ticker where it is another."""
    pooled_names = {str(horizon): name for horizon, name in (chosen.pooled or {}).items()}
    by_ticker = {
        str(horizon): {ticker: name for ticker, name in names.items() if name != (chosen.pooled or {}).get(horizon)}
        for horizon, names in (chosen.by_ticker or {}).items()
    }
    differing = {horizon: names for horizon, names in by_ticker.items() if names}
    return {"model": chosen.model, "pooled": pooled_names, "by_ticker": differing}


def instead_of(result: CalendarResult) -> list[str]:
    """Return a sentence for each baseline that is shown in the model's place; none without forecasts."""
    if result.forecasts is None:
        return []
    return baseline_substitutions(published_forecasters(result.forecasts), result.publication.model)


def forecast_rows(forecasts: pd.DataFrame) -> list[Row]:
    """Return the published forecasts, a row per ticker and horizon in this order, dates as ISO text."""
    rows = published_rows(forecasts)[list(FORECAST_NAMES)].copy()
    order = {ticker: place for place, ticker in enumerate(dict.fromkeys(rows["ticker"]))}
    rows = rows.sort_values(
        ["ticker", "horizon"], key=lambda column: column.map(order) if column.name == "ticker" else column
    )
    for name in ("as_of", "target_session"):
        rows[name] = rows[name].dt.strftime("%Y-%m-%d")
    return plain_rows(rows)


def pooled_scores(evaluation: Evaluation) -> dict[str, dict[str, Row]]:
    """Return horizon -> forecaster -> score, pooled over tickers."""
    result: dict[str, dict[str, Row]] = {}
    for row in evaluation.scores[evaluation.scores["ticker"] == POOLED].to_dict("records"):
        scores = {name: plain(row[name]) for name in SCORE_NAMES}
        result.setdefault(str(row["horizon"]), {})[row["forecaster"]] = scores
    return result


def _against(evaluation: Evaluation, column: str) -> dict[str, Row]:
    """Return horizon -> opponent -> a column of the model's comparisons, pooled over tickers."""
    horizons = range(1, evaluation.backtest.horizons + 1)
    found = {h: pooled(evaluation.comparisons, evaluation.verdict.model, h)[column] for h in horizons}
    return {str(h): {str(name): plain(value) for name, value in row.items()} for h, row in found.items()}


def failure_json(error: BaseException) -> Row:
    """Return the object that --json prints for a command that ended with an error."""
    reason = str(error) if isinstance(error, TapecastError) else f"{type(error).__name__}: {error}"
    return {"status": "failed", "error": reason, "excluded": [asdict(out) for out in getattr(error, "excluded", ())]}


def plain_rows(table: pd.DataFrame) -> list[Row]:
    """Return the rows of a table as plain JSON values."""
    return [{str(name): plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def plain(value: Any) -> Any:
    """Return a value as JSON has it: Python's own numbers, and None in place of NaN."""
    value = value.item() if hasattr(value, "item") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value
