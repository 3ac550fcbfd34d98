"""A small but real outcome: two folds of simulated prices, every forecaster, a ticker left out and a problem."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pipeline.evaluation.evaluation import EvaluationInputs, evaluate
from pipeline.evaluation.money.account import opens_of
from pipeline.evaluation.trials import Trials
from pipeline.forecasting.backtest import build_backtest
from pipeline.forecasting.forecasts import CORE_FORECASTERS, fits_of
from pipeline.forecasting.live import live_forecasts
from pipeline.market.bars import Exclusion, Listing, Problem, Severity, Stale
from pipeline.operation.publication import Publication, marked
from pipeline.operation.result import CalendarResult
from tests.panels import NOW, TINY, changed, fit_jobs, frames_from, jobs_for, panel_of, random_market

EXPERIMENT = changed(TINY, seeds=2)


def small_outcome(folder: Path) -> CalendarResult:
    frames = frames_from(random_market(), EXPERIMENT)
    jobs, folds = jobs_for(frames, EXPERIMENT, CORE_FORECASTERS, slice(-2, None))
    results = fit_jobs(jobs, frames, folder)
    backtest = build_backtest(results, folds, frames, EXPERIMENT.postprocessing)
    opens = opens_of(panel_of(random_market()))
    published = Publication(backtest.published)
    live = live_forecasts(fits_of(results, folds[-1]), frames, "XNYS", NOW, backtest.postprocessing)
    return CalendarResult(
        experiment=EXPERIMENT,
        known_at=datetime(2026, 10, 1, 22, 30, 5, tzinfo=UTC),
        listings=tuple(Listing(ticker, "XNYS", "USD") for ticker in frames.tickers),
        source_note="Made prices; nothing here is real.",
        frames=frames,
        folds=folds,
        results=tuple(results),
        problems=(Problem("BAD", "2023-05-05", "price", Severity.TICKER, "close -1.0", "a positive price"),),
        excluded=(Exclusion("BAD", "2023-05-05: found close -1.0, expected a positive price"),),
        stale=(Stale("T1", "2023-12-27", 2, "the source did not answer"),),
        unseen=(),
        warnings=("Chosen today, tested on the past.",),
        evaluation=evaluate(backtest, EvaluationInputs(opens, EXPERIMENT.money, Trials())),
        forecasts=marked(live.table, published),
        publication=published,
        weights=live.weights,
    )


def forecast_only(outcome: CalendarResult) -> CalendarResult:
    """The outcome of `tapecast forecast`: nothing was trained or tested."""
    return replace(outcome, folds=(), results=(), evaluation=None, problems=(), excluded=(), unseen=("T3",))
