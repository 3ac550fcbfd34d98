"""From recorded runs to their results: what is shown of evaluations and forecasts, as plain values."""

from dataclasses import asdict

import pandas as pd

from pipeline.evaluation.comparisons import pooled
from pipeline.evaluation.contribution import Contribution
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.scores import POOLED
from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.forecasting.weights import Weights
from pipeline.operation.model import VersionReference
from pipeline.operation.publication import Publication, published_rows
from pipeline.operation.result import CalendarResult
from pipeline.reporting.forecast_tables import baseline_substitutions, live_shares, published_forecasters
from pipeline.reporting.money_tables import money_in_short
from pipeline.reporting.score_tables import echo_in_short
from pipeline.tracking.metrics import MEDIAN_VALUES
from pipeline.workflow.over_calendars import RecordedRun
from pipeline.workflow.recording import RecordedResult
from pipeline.workflow.result import BacktestSummary, CalendarSummary, JsonObject, Result, json_rows, plain
from pipeline.workflow.validation import mismatch_rows

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


def result_of(recorded: RecordedRun) -> Result:
    """Return the result of a recorded run, over all its calendars."""
    return Result(
        calendars=tuple(summary_of(recorded) for recorded in recorded.results),
        failed=tuple(asdict(out) for out in recorded.excluded),
        shared_seconds=recorded.seconds,
    )


def summary_of(recorded: RecordedResult) -> CalendarSummary:
    """Return the summary of the result on one calendar."""
    result = recorded.result
    return CalendarSummary(
        status=result.status,
        calendar=result.calendar,
        known_at=result.known_at.isoformat() if result.known_at else None,
        note=result.source_note,
        calendar_mismatches=mismatch_rows(result.calendar_mismatches),
        warnings=[*result.warnings, *recorded.warnings],
        excluded=[asdict(out) for out in result.excluded],
        stale=[asdict(stale) for stale in result.stale],
        restated=[asdict(row) for row in result.restated],
        unseen=list(result.unseen),
        publication=publication_values(result.publication),
        instead=instead_of(result),
        model_version=version_values(result.model_version),
        mlflow_run_id=recorded.run_id,
        mlflow_url=recorded.url,
        recorded=recorded.recorded,
        report=str(recorded.report) if recorded.report else None,
        seconds=recorded.seconds,
        forecasts=None if result.forecasts is None else json_forecasts(result.forecasts),
        shares=live_shares(result.weights),
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
        median={name: plain(getattr(verdict.echo, name)) for name in MEDIAN_VALUES},
        money=money_in_short(evaluation) or None,
        money_entry_bps=evaluation.money.spec.entry_threshold_bps,
        network_adds=[_contribution(it) for it in evaluation.contributions],
        weights=_mean_shares(evaluation.backtest.weights),
        summary_table=json_rows(evaluation.summary_table),
        trials={
            "tested": trials.tested if trials.known else None,
            "tuned": trials.tuned,
            "total": trials.total if trials.known else None,
        },
    )


def _contribution(it: Contribution) -> JsonObject:
    return {name: plain(getattr(it, name)) for name in ("horizon", "skill", "skill_error", "p", "conclusion")}


def _mean_shares(weights: Weights | None) -> dict[str, dict[str, float]]:
    """Return horizon -> member -> its mean share of the band over the test; empty without a combination."""
    if weights is None:
        return {}
    return {str(h): weights.mean_share(h) for h in range(1, weights.horizons + 1)}


def publication_values(chosen: Publication) -> JsonObject:
    """Return the model, the forecaster shown by horizon for all tickers, and by ticker where it is another."""
    pooled_names = {str(horizon): name for horizon, name in (chosen.pooled or {}).items()}
    by_ticker = {
        str(horizon): {ticker: name for ticker, name in names.items() if name != (chosen.pooled or {}).get(horizon)}
        for horizon, names in (chosen.by_ticker or {}).items()
    }
    differing = {horizon: names for horizon, names in by_ticker.items() if names}
    return {"model": chosen.model, "pooled": pooled_names, "by_ticker": differing}


def version_values(version: VersionReference | None) -> JsonObject | None:
    """Return name, number, backtest, rule of takeover and all of it in words; None without a version."""
    if version is None:
        return None
    backtest = version.backtest and {**asdict(version.backtest), "date": version.backtest.date.isoformat()}
    return {**asdict(version), "backtest": backtest, "sentence": version.sentence}


def instead_of(result: CalendarResult) -> list[str]:
    """Return a sentence for each baseline that is shown in the model's place; none without forecasts."""
    if result.forecasts is None:
        return []
    return baseline_substitutions(published_forecasters(result.forecasts), result.publication.model)


def json_forecasts(forecasts: pd.DataFrame) -> list[JsonObject]:
    """Return the published forecasts, a row per ticker and horizon in this order, dates as ISO text."""
    rows = published_rows(forecasts)[list(FORECAST_NAMES)].copy()
    order = {ticker: place for place, ticker in enumerate(dict.fromkeys(rows["ticker"]))}
    rows = rows.sort_values(
        ["ticker", "horizon"], key=lambda column: column.map(order) if column.name == "ticker" else column
    )
    for name in ("as_of", "target_session"):
        rows[name] = rows[name].dt.strftime("%Y-%m-%d")
    return json_rows(rows)


def pooled_scores(evaluation: Evaluation) -> dict[str, dict[str, JsonObject]]:
    """Return horizon -> forecaster -> score, pooled over tickers."""
    result: dict[str, dict[str, JsonObject]] = {}
    for row in evaluation.scores[evaluation.scores["ticker"] == POOLED].to_dict("records"):
        scores = {name: plain(row[name]) for name in SCORE_NAMES}
        result.setdefault(str(row["horizon"]), {})[row["forecaster"]] = scores
    return result


def _against(evaluation: Evaluation, column: str) -> dict[str, JsonObject]:
    """Return horizon -> opponent -> a column of the model's comparisons, pooled over tickers."""
    horizons = range(1, evaluation.backtest.horizons + 1)
    columns = {h: pooled(evaluation.comparisons, evaluation.verdict.model, h)[column] for h in horizons}
    return {str(h): {str(name): plain(value) for name, value in row.items()} for h, row in columns.items()}
