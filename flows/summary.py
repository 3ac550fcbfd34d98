"""The summary of a run: what --json prints, and what the terminal and the Prefect artifacts show."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any

import pandas as pd

from flows.job import Finished
from flows.parts import Parts
from flows.values import plain
from pipeline.errors import TapecastError
from pipeline.evaluation.backtest import QUANTILE_COLUMNS
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.gate import pooled
from pipeline.evaluation.scores import POOLED
from pipeline.operation.outcome import Outcome
from pipeline.operation.publication import published_rows
from pipeline.reporting.abstention import published_names, shown_instead
from pipeline.reporting.echo_rows import echo_in_short
from pipeline.reporting.money_rows import money_in_short

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


@dataclass(frozen=True)
class Summary:
    """The result of a run as plain JSON values; None stands where a number is not defined.

    `tickers` has the verdict's word on each, `echo` the name of what the model's median is, `one_table` statistics and
    money of every forecaster, `publication` the forecaster shown by horizon (and ticker, where it differs), `instead`
    the same in sentences where that is a baseline, and `luck` how many specifications were tried.

    A run over several calendars has a summary per calendar in `markets`; scores and the like stand there alone.
    """

    status: str
    error: str | None = None
    calendar: str | None = None
    known_at: str | None = None
    verdict: str | None = None
    note: str | None = None
    warnings: list[str] = field(default_factory=list)
    forecasts: list[Row] | None = None
    left_out: list[Row] = field(default_factory=list)
    stale: list[Row] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    scores: dict[str, dict[str, Row]] = field(default_factory=dict)
    skill: dict[str, Row] = field(default_factory=dict)
    dm_p: dict[str, Row] = field(default_factory=dict)
    model: str | None = None
    tickers: dict[str, str] = field(default_factory=dict)
    echo: str | None = None
    echo_in_short: str | None = None
    money: str | None = None
    one_table: list[Row] = field(default_factory=list)
    publication: Row = field(default_factory=dict)
    instead: list[str] = field(default_factory=list)
    luck: Row = field(default_factory=dict)
    mlflow_run_id: str | None = None
    mlflow_url: str | None = None
    report: str | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    markets: "list[Summary]" = field(default_factory=list)

    def as_json(self) -> Row:
        """Return the object that --json prints; a backtest has no forecasts, and one calendar no list of markets."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        values["markets"] = [market.as_json() for market in self.markets] or None
        optional = ("forecasts", "markets")
        return {name: value for name, value in values.items() if value is not None or name not in optional}


def summarise(parts: Parts) -> Summary:
    """Return the summary of a finished job, over all its markets."""
    each = [summary_of(part) for part in parts.finished]
    if len(each) == 1 and not parts.left_out:
        return each[0]
    forecasts = [one.forecasts for one in each if one.forecasts is not None]
    left_out = [asdict(out) for out in parts.left_out] + [row for one in each for row in one.left_out]
    return Summary(
        status="partial" if left_out or any(one.status == "partial" for one in each) else "ok",
        verdict="\n".join(f"{one.calendar}: {one.verdict}" for one in each if one.verdict) or None,
        known_at=each[0].known_at,
        note=each[0].note,
        warnings=list(dict.fromkeys(warning for one in each for warning in one.warnings)),
        forecasts=[row for rows in forecasts for row in rows] if forecasts else None,
        left_out=left_out,
        stale=[row for one in each for row in one.stale],
        unseen=[ticker for one in each for ticker in one.unseen],
        seconds=added([parts.seconds, *(one.seconds for one in each)]),
        markets=each,
    )


def added(seconds: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the seconds of every stage, summed over the markets."""
    stages = dict.fromkeys(stage for one in seconds for stage in one)
    return {stage: round(sum(one.get(stage, 0.0) for one in seconds), 3) for stage in stages}


def summary_of(result: Finished) -> Summary:
    """Return the summary of one market's part."""
    outcome, evaluation = result.outcome, result.outcome.evaluation
    summary = Summary(
        status=outcome.status,
        calendar=outcome.calendar,
        known_at=outcome.known_at.isoformat() if outcome.known_at else None,
        verdict=evaluation.verdict.sentence if evaluation else None,
        note=outcome.source_note,
        warnings=list(outcome.warnings),
        forecasts=None if outcome.forecasts is None else forecast_rows(outcome.forecasts),
        left_out=[asdict(out) for out in outcome.left_out],
        stale=[asdict(one) for one in outcome.stale],
        unseen=list(outcome.unseen),
        scores=pooled_scores(evaluation) if evaluation else {},
        skill=pooled_skill(evaluation) if evaluation else {},
        dm_p=p_values(evaluation) if evaluation else {},
        publication=publication_of(outcome),
        instead=instead_of(outcome),
        mlflow_run_id=result.recorded.run_id,
        mlflow_url=result.recorded.url,
        report=str(result.report),
        seconds=result.seconds,
    )
    return summary if evaluation is None else with_evidence(summary, evaluation)


def with_evidence(summary: Summary, evaluation: Evaluation) -> Summary:
    """Return the summary with what a backtest shows beyond its scores."""
    verdict, luck = evaluation.verdict, evaluation.luck
    return replace(
        summary,
        model=verdict.model,
        tickers=dict(verdict.tickers),
        echo=verdict.echo.name,
        echo_in_short=echo_in_short(verdict.echo),
        money=money_in_short(evaluation) or None,
        one_table=plain_rows(evaluation.one_table),
        luck={"tested": luck.tested, "tuned": luck.tuned, "trials": luck.trials},
    )


def publication_of(outcome: Outcome) -> Row:
    """Return the model, the forecaster shown by horizon for all tickers, and by ticker where it is another."""
    chosen = outcome.publication
    pooled = {str(horizon): name for horizon, name in (chosen.pooled or {}).items()}
    by_ticker = {
        str(horizon): {ticker: name for ticker, name in own.items() if name != (chosen.pooled or {}).get(horizon)}
        for horizon, own in (chosen.by_ticker or {}).items()
    }
    return {"model": chosen.model, "pooled": pooled, "by_ticker": {h: own for h, own in by_ticker.items() if own}}


def instead_of(outcome: Outcome) -> list[str]:
    """Return a sentence for each baseline that is shown in the model's place; none without forecasts."""
    if outcome.forecasts is None:
        return []
    return shown_instead(published_names(outcome.forecasts), outcome.publication.model)


def plain_rows(table: pd.DataFrame) -> list[Row]:
    """Return the rows of a table as plain JSON values."""
    return [{str(name): plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def failed(error: BaseException) -> Summary:
    """Return the summary of a run that ended with an error."""
    left_out = [asdict(out) for out in getattr(error, "left_out", ())]
    reason = str(error) if isinstance(error, TapecastError) else f"{type(error).__name__}: {error}"
    return Summary(status="failed", error=reason, left_out=left_out)


def forecast_rows(forecasts: pd.DataFrame) -> list[Row]:
    """Return the published forecasts, a row per ticker and horizon in this order, dates as ISO text."""
    rows = published_rows(forecasts)[list(FORECAST_NAMES)].copy()
    order = {ticker: place for place, ticker in enumerate(dict.fromkeys(rows["ticker"]))}
    rows = rows.sort_values(["ticker", "horizon"], key=lambda own: own.map(order) if own.name == "ticker" else own)
    for name in ("as_of", "target_session"):
        rows[name] = rows[name].dt.strftime("%Y-%m-%d")
    return plain_rows(rows)


def pooled_scores(evaluation: Evaluation) -> dict[str, dict[str, Row]]:
    """Return horizon -> forecaster -> score."""
    own = evaluation.scores[evaluation.scores["ticker"] == POOLED]
    result: dict[str, dict[str, Row]] = {}
    for row in own.to_dict("records"):
        scores = {name: plain(row[name]) for name in SCORE_NAMES}
        result.setdefault(str(row["horizon"]), {})[row["forecaster"]] = scores
    return result


def pooled_skill(evaluation: Evaluation) -> dict[str, Row]:
    """Return horizon -> opponent -> skill of the model."""
    return _against(evaluation, "skill")


def p_values(evaluation: Evaluation) -> dict[str, Row]:
    """Return horizon -> opponent -> p of the Diebold-Mariano test, adjusted for what was tried."""
    return _against(evaluation, "p_adjusted")


def _against(evaluation: Evaluation, column: str) -> dict[str, Row]:
    horizons = range(1, evaluation.backtest.horizons + 1)
    found = {h: pooled(evaluation.gate, evaluation.verdict.model, h)[column] for h in horizons}
    return {str(h): {str(name): plain(value) for name, value in row.items()} for h, row in found.items()}
