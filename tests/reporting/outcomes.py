"""A small outcome made without training: normal forecasts of random walks, with every part of a real run."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
from scipy.stats import norm

from pipeline.dataset.folds import Fold, Range
from pipeline.dataset.frames import Frames
from pipeline.evaluation.evaluation import Evaluation, EvaluationInputs, evaluate
from pipeline.evaluation.money.account import Opens
from pipeline.evaluation.specification import MoneySpec
from pipeline.evaluation.trials import Trials
from pipeline.experiment import Experiment
from pipeline.forecasters.ewma import EwmaSpec
from pipeline.forecasters.forecaster import LEVELS, Fitted, ValidationCheck
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, COMBINED, CORE_FORECASTERS, NETWORK, QUANTILE_COLUMNS
from pipeline.forecasting.weights import Weights
from pipeline.market.bars import Exclusion, Listing, Problem, Severity
from pipeline.operation.publication import Publication, marked
from pipeline.operation.result import CalendarResult
from pipeline.training.jobs import FitJob, FitResult
from tests.evaluation.backtests import flat_opens

HORIZONS = 3
NOISE = 0.01
SPREADS = dict(zip(CORE_FORECASTERS, (1.0, 1.6, 1.03, 1.2, 1.05, 1.1), strict=True))
MEMBERS = ("network", "ewma", "linear")
LEFT_OUT = Exclusion("GONE", "only 7 usable sessions, at least 100 are needed")


def small_outcome(tickers: tuple[str, ...] = ("AAA", "BBB"), sessions: int = 420) -> CalendarResult:
    """A run of two folds; the network's spread is the true one, the baselines' are too wide."""
    frames = small_frames(tickers, sessions)
    folds = (small_fold(frames, 200, sessions - 100), small_fold(frames, sessions - 100, sessions))
    return CalendarResult(
        experiment=Experiment(horizons=HORIZONS, tickers=("AAA",)),
        known_at=datetime(2026, 10, 1, 22, 30, 5, tzinfo=UTC),
        listings=tuple(Listing(ticker, "XNYS", "USD") for ticker in frames.tickers),
        source_note="Made up prices that end in 2021.",
        frames=frames,
        folds=folds,
        results=(*(fit_result(fold, seed) for fold in folds for seed in (1, 0)), baseline_result(folds[1])),
        problems=(Problem("AAA", "2020-01-06", "missing_sessions", Severity.NOTE, "a gap of 9 sessions", "no gap"),),
        excluded=(LEFT_OUT,),
        stale=(),
        unseen=(),
        warnings=(),
        evaluation=evaluation_of(small_backtest(frames, folds)),
        forecasts=small_forecasts(frames),
        publication=Publication(),
    )


def rich_outcome(sessions: int = 330) -> CalendarResult:
    """A run of one fold over six tickers: medians that take sides, a corrected network, opens that move, trials."""
    frames = small_frames(("AAA", "BBB", "CCC", "DDD", "EEE", "FFF"), sessions)
    fold = small_fold(frames, 130, sessions)
    plain, draws = small_backtest(frames, (fold,)), np.random.default_rng(11)
    moved = (0.2 * NOISE * draws.normal(size=plain.realised.shape)).astype(np.float32)[..., None]
    network, calibrated = (log_quantiles(spread, *plain.realised.shape[:2]) + moved for spread in (0.6, 1.0))
    known = np.exp(0.3 * draws.normal(size=plain.realised.shape[:2])).astype(np.float32)[..., None, None]
    baselines = {
        **without(plain.quantiles, NETWORK),
        "linear": plain.quantiles["linear"] - moved,
        "last_close": plain.quantiles["last_close"] * known,
    }
    relative = np.log(known[..., 0, 0])
    quantiles = {NETWORK: network, CALIBRATED: calibrated, **baselines}
    backtest = replace(plain, quantiles=quantiles, relative_volatility=relative)
    evaluation = evaluate(backtest, EvaluationInputs(moving_opens(frames), MoneySpec(), Trials(tested=2, tuned=4)))
    forecasts = small_forecasts(frames, names=tuple(backtest.quantiles))
    return replace(
        small_outcome(frames.tickers, sessions),
        frames=frames,
        folds=(fold,),
        results=(),
        warnings=("These 6 tickers were chosen today.",),
        evaluation=evaluation,
        publication=Publication(CALIBRATED),
        forecasts=published(forecasts, Publication(CALIBRATED)),
    )


def combined_outcome() -> CalendarResult:
    """The small outcome with a combination of three forecasters, which is published, and its weights."""
    plain = small_outcome()
    assert plain.evaluation is not None
    backtest, draws = plain.evaluation.backtest, np.random.default_rng(5)
    shape = (len(backtest.sessions), HORIZONS, len(LEVELS), len(MEMBERS))
    drawn = draws.uniform(0.1, 1.0, shape).astype(np.float32)
    answered = np.ones((len(backtest.sessions), HORIZONS, len(MEMBERS)), np.float32)
    answered[:40, :, 2] = 0.5
    weights = Weights(MEMBERS, backtest.sessions, drawn / drawn.sum(axis=-1, keepdims=True), answered)
    mixed, without_network = (log_quantiles(spread, *backtest.realised.shape[:2]) for spread in (1.0, 1.4))
    linear = np.array(backtest.quantiles["linear"])
    linear[0, :40] = np.nan
    quantiles = {**backtest.quantiles, COMBINED: mixed, "linear": linear}
    backtest = replace(backtest, quantiles=quantiles, weights=weights, without_network=without_network)
    forecasts = small_forecasts(plain.frames, names=(COMBINED, *CORE_FORECASTERS))
    return replace(
        plain,
        evaluation=evaluation_of(backtest),
        publication=Publication(COMBINED),
        forecasts=published(forecasts, Publication(COMBINED)),
        weights=weights.last,
    )


def without(values: Mapping[str, np.ndarray], name: str) -> dict[str, np.ndarray]:
    return {other: value for other, value in values.items() if other != name}


def moving_opens(frames: Frames) -> Opens:
    """Opens that move as the closes do, a session's growth that of its return."""
    tradable = np.ones(frames.log_return.shape, dtype=bool)
    return Opens(frames.tickers, frames.sessions, tradable, ~tradable, np.exp(frames.log_return.astype(np.float64)))


def published(forecasts: pd.DataFrame, chosen: Publication) -> pd.DataFrame:
    """The table of forecasts, marked anew."""
    return marked(forecasts.drop(columns="published", errors="ignore"), chosen)


def small_frames(tickers: tuple[str, ...], sessions: int) -> Frames:
    draws = np.random.default_rng(7)
    days = np.arange(np.datetime64("2020-01-01"), np.datetime64("2030-01-01"))
    days = days[np.is_busday(days)][:sessions]
    returns = draws.normal(0, NOISE, (len(tickers), sessions))
    log_price = np.cumsum(returns, axis=1)
    ahead = np.full((len(tickers), sessions, HORIZONS), np.nan)
    for h in range(1, HORIZONS + 1):
        ahead[:, :-h, h - 1] = log_price[:, h:] - log_price[:, :-h]
    flat = np.full(returns.shape, NOISE, np.float32)
    return Frames(
        tickers=tickers,
        feature_names=("log_return",),
        sessions=days,
        features=returns[..., None].astype(np.float32),
        volatility=flat,
        volatility_20=flat,
        relative_volatility=np.zeros_like(flat),
        log_return=returns.astype(np.float32),
        future_return=ahead.astype(np.float32),
        usable=np.ones(returns.shape, dtype=bool),
        reference_close=100 * np.exp(log_price),
    )


def small_fold(frames: Frames, start: int, stop: int) -> Fold:
    edges = (0, start - 40, start, start, stop)
    sessions = np.append(frames.sessions, frames.sessions[-1] + np.timedelta64(90, "D"))  # a refit yet to come
    dates = [sessions[edge] for edge in edges]
    ranges = [Range(dates[k], dates[k + 1], edges[k], edges[k + 1]) for k in range(4)]
    return Fold(str(dates[3]), *ranges)


def small_backtest(frames: Frames, folds: tuple[Fold, ...]) -> Backtest:
    rows = np.concatenate([np.arange(fold.test.start, fold.test.stop) for fold in folds])
    padded = np.concatenate([frames.sessions, np.full(HORIZONS, np.datetime64("NaT"))])
    quantiles = {name: log_quantiles(SPREADS[name], len(frames.tickers), len(rows)) for name in CORE_FORECASTERS}
    quantiles["drift"] = quantiles["drift"] + np.float32(1e-4)
    return Backtest(
        tickers=frames.tickers,
        sessions=frames.sessions[rows],
        fold_names=tuple(fold.name for fold in folds),
        fold_of_origin=np.repeat(np.arange(len(folds)), [len(fold.test) for fold in folds]),
        quantiles=quantiles,
        realised=frames.future_return[:, rows],
        reference_close=frames.reference_close[:, rows],
        target_sessions=padded[rows[:, None] + np.arange(1, HORIZONS + 1)],
    )


def log_quantiles(spread: float, tickers: int, origins: int) -> np.ndarray:
    of_horizon = spread * NOISE * np.sqrt(np.arange(1, HORIZONS + 1))[:, None] * norm.ppf(LEVELS)
    return np.broadcast_to(of_horizon, (tickers, origins, HORIZONS, len(LEVELS))).astype(np.float32)


def evaluation_of(backtest: Backtest) -> Evaluation:
    return evaluate(backtest, EvaluationInputs(flat_opens(backtest), MoneySpec(), Trials()))


def small_forecasts(frames: Frames, age_sessions: int = 0, names: tuple[str, ...] = CORE_FORECASTERS) -> pd.DataFrame:
    last = frames.sessions[-1]
    targets = np.array([np.busday_offset(last, h) for h in range(1, HORIZONS + 1)])
    parts = []
    for row, ticker in enumerate(frames.tickers):
        close = frames.reference_close[row, -1]
        for name in names:
            price = close * np.exp(log_quantiles(SPREADS.get(name, 1.0), 1, 1)[0, 0].astype(np.float64))
            columns = {
                "ticker": ticker,
                "as_of": last.astype("datetime64[s]"),
                "horizon": np.arange(1, HORIZONS + 1),
                "target_session": targets.astype("datetime64[s]"),
                "forecaster": name,
                "reference_close": close,
                "age_sessions": age_sessions,
            }
            parts.append(pd.DataFrame({**columns, **dict(zip(QUANTILE_COLUMNS, price.T, strict=True))}))
    return marked(pd.concat(parts, ignore_index=True), Publication())


def fit_result(fold: Fold, seed: int) -> FitResult:
    checks = tuple(
        ValidationCheck(10 * k, 0.3 - 0.01 * k, 0.25 + 0.001 * (k - 3) ** 2 + 0.001 * seed) for k in range(1, 7)
    )
    job = FitJob(RecurrentSpec(), TrainingSpec(), ("log_return",), ("AAA",), fold, seed, "digest")
    return FitResult(job, Fitted(job.forecaster, job.features, job.tickers, HORIZONS, 160, {}, checks, 30, 0.5))


def baseline_result(fold: Fold) -> FitResult:
    job = FitJob(EwmaSpec(), TrainingSpec(), (), ("AAA",), fold, 0, "digest")
    return FitResult(job, Fitted(job.forecaster, (), job.tickers, HORIZONS, 0, {}))


def only_forecast(outcome: CalendarResult) -> CalendarResult:
    return replace(outcome, evaluation=None, results=(), folds=())


def only_backtest(outcome: CalendarResult) -> CalendarResult:
    return replace(outcome, forecasts=None)


def network_forecast(outcome: CalendarResult, ticker: str, horizon: int) -> pd.Series:
    """The network's row of the outcome's table of forecasts."""
    rows = outcome.forecasts
    found = rows[(rows["ticker"] == ticker) & (rows["horizon"] == horizon) & (rows["forecaster"] == NETWORK)]
    return found.iloc[0]
