"""No look-ahead over the whole pipeline (DESIGN 6.1): from rows and validation to fits and what is published.

Everything after an origin is replaced by other valid bars and actions: each forecast at or before it keeps every bit.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pandas as pd
import pytest

from pipeline.arrays import Sessions
from pipeline.dataset.features import Feature, select_features
from pipeline.dataset.frames import Frames, build_frames, save_frames
from pipeline.dataset.panel import build_panel
from pipeline.forecasting.backtest import build_backtest
from pipeline.forecasting.forecasts import CALIBRATED, COMBINED
from pipeline.market.bars import ReturnsFrom
from pipeline.stages import folds_of, jobs_of
from pipeline.training.cache import FitCache
from pipeline.training.schedule import fit_all, raise_failures
from tests.panels import TINY, Rows, bars_of, random_market, random_rows

H = TINY.horizons
FAST = ("network", "climatology", "last_close", "drift", "ewma")
Change = Callable[[Frames], Frames]


@dataclass(frozen=True)
class Pipeline:
    """How the pipeline is run; the last two are where a test makes it leak."""

    returns_from: ReturnsFrom = "actions"
    kinds: tuple[str, ...] = FAST
    features: tuple[Feature, ...] = select_features(TINY.all_features)
    change: Change = lambda frames: frames

    def forecasts(self, rows: Rows, until: np.datetime64) -> dict[tuple[str, np.datetime64], np.ndarray]:
        """Every forecast [ticker, horizon, level] by forecaster and origin, of the folds that test before `until`."""
        has_actions = self.returns_from == "actions"
        panel = build_panel(bars_of(rows, self.returns_from, TINY.minimum_sessions, has_actions=has_actions))
        frames = self.change(build_frames(panel, self.features, panel.tickers, H, TINY.minimum_sessions))
        folds = [fold for fold in folds_of(frames, TINY) if fold.test.first <= until]
        jobs = list(jobs_of(frames, tuple(folds), TINY, "cpu", self.kinds))
        extra = [f.name for f in self.features if f.name not in TINY.all_features]
        with TemporaryDirectory() as folder:
            save_frames(frames, Path(folder) / "frames")
            jobs = [replace(job, features=(*job.features, *extra)) if job.features else job for job in jobs]
            results = list(fit_all(jobs, Path(folder) / "frames", FitCache(Path(folder) / "kept"), 1))
        raise_failures(results)
        backtest = build_backtest(results, folds, frames, TINY.postprocessing)
        assert {COMBINED, CALIBRATED} <= {*backtest.quantiles}
        return {
            (name, session): values[:, place]
            for name, values in backtest.quantiles.items()
            for place, session in enumerate(backtest.sessions)
        }


@cache
def market() -> dict[str, pd.DataFrame]:
    return random_market(700, 4)


@cache
def origins() -> tuple[np.datetime64, ...]:
    """H before the second fold's first test origin, that origin, and one amid each test range."""
    frames = build_frames(
        build_panel(bars_of(market())), select_features(TINY.all_features), tuple(market()), H, TINY.minimum_sessions
    )
    first, second = folds_of(frames, TINY)
    at = [first.test.start, first.test.start + 40, second.test.start - H, second.test.start, second.test.start + 60]
    return tuple(frames.sessions[k] for k in at)


def garbage_after(rows: Rows, origin: np.datetime64) -> dict[str, pd.DataFrame]:
    """Other valid bars and actions after the origin; one ticker has many gaps there, but none where it acts."""
    spoilt = {}
    for number, (ticker, frame) in enumerate(rows.items()):
        other = random_rows(len(frame), 4000 + number, level=777.0).assign(session=frame["session"])
        later = frame["session"].to_numpy() > origin
        draws = np.random.default_rng(number)
        first = int(later.argmax())
        # what the jump to other prices is: a split, so that the contract has nothing against it
        other.loc[first, "split"] = frame["close"][first - 1] / other["close"][first]
        other["dividend"] += np.where(draws.uniform(size=len(frame)) < 0.1, 0.04 * other["close"], 0.0)
        other["adj_close"] = draws.uniform(1, 900, len(frame))
        mixed = frame.where(frame["session"] <= origin, other)
        acts = (mixed["split"] != 1.0) | (mixed["dividend"] > 0.0)
        hole = later & ~acts & (draws.uniform(size=len(frame)) < (0.5 if ticker == "T2" else 0.0))
        spoilt[ticker] = mixed[~hole].reset_index(drop=True)
    return spoilt


def truncated(rows: Rows, origin: np.datetime64) -> dict[str, pd.DataFrame]:
    cut = {ticker: frame[frame["session"].to_numpy() <= origin] for ticker, frame in rows.items()}
    return {ticker: frame for ticker, frame in cut.items() if len(frame) >= TINY.minimum_sessions}


def worst_change(pipeline: Pipeline, rows: Rows, other: Rows, origin: np.datetime64) -> float:
    """The largest change of any forecast at or before the origin; 0 where every bit is the same, NaN and all."""
    before, after = pipeline.forecasts(rows, origin), pipeline.forecasts(other, origin)
    keys = [key for key in before if key[1] <= origin]
    assert keys
    assert keys == [key for key in after if key[1] <= origin]
    assert all(np.isfinite(before[key]).any() for key in keys)
    here = [k for k, ticker in enumerate(sorted(rows)) if ticker in other]
    pairs = [(before[key][here], after[key]) for key in keys]
    if all(a.tobytes() == b.tobytes() for a, b in pairs):
        return 0.0
    if any((np.isnan(a) != np.isnan(b)).any() for a, b in pairs):
        return float("inf")
    return max(float(np.nanmax(np.abs(a - b), initial=0.0)) for a, b in pairs) or 1e-300


def days_of(rows: Rows) -> Sessions:
    return np.unique(np.concatenate([frame["session"].to_numpy() for frame in rows.values()]))


@pytest.mark.parametrize("place", range(5))
def test_what_comes_after_an_origin_changes_no_bit_of_a_forecast(place: int) -> None:
    origin = origins()[place]
    spoilt = garbage_after(market(), origin)
    assert days_of(spoilt)[-1] == days_of(market())[-1]
    assert worst_change(Pipeline(), market(), spoilt, origin) == 0.0


@pytest.mark.parametrize("returns_from", ["adj_close", "close"])
def test_nor_where_returns_come_from_another_column(returns_from: ReturnsFrom) -> None:
    origin = origins()[3]
    assert worst_change(Pipeline(returns_from), market(), garbage_after(market(), origin), origin) == 0.0


def test_nor_with_the_linear_baseline() -> None:
    origin = origins()[2]
    linear = Pipeline(kinds=("network", "linear"))
    assert worst_change(linear, market(), garbage_after(market(), origin), origin) == 0.0


def test_the_garbage_does_reach_later_forecasts() -> None:
    origin, end = origins()[1], origins()[-1]
    before, after = (Pipeline().forecasts(rows, end) for rows in (market(), garbage_after(market(), origin)))
    later = [key for key in before if key[1] > origin and key[0] != "climatology"]
    assert sum(before[key].tobytes() != after[key].tobytes() for key in later) > 0.9 * len(later)


@pytest.mark.parametrize("place", [1, 2, 3, 4])
def test_a_history_that_ends_at_the_origin_says_the_same(place: int) -> None:
    origin = origins()[place]
    assert worst_change(Pipeline(), market(), truncated(market(), origin), origin) <= 1e-6


def test_a_ticker_too_young_to_be_accepted_changes_no_forecast_of_another() -> None:
    """At this origin T3 has 62 sessions: cut there, validation excludes it; the market mean may not contain it."""
    origin = origins()[0]
    cut = truncated(market(), origin)
    assert sorted(cut) == ["T0", "T1", "T2"]
    assert (market()["T3"]["session"] <= origin).sum() > 0
    assert worst_change(Pipeline(), market(), cut, origin) <= 1e-6


@pytest.mark.parametrize("returns_from", ["actions", "adj_close"])
def test_the_level_of_prices_says_nothing(returns_from: ReturnsFrom) -> None:
    prices = ["open", "high", "low", "close", "adj_close", "dividend"]
    scaled = {ticker: rows.assign(**{name: 7.3 * rows[name] for name in prices}) for ticker, rows in market().items()}
    assert worst_change(Pipeline(returns_from), market(), scaled, origins()[-1]) <= 1e-6
    if returns_from == "actions":
        assert worst_change(Pipeline(kinds=("network", "linear")), market(), scaled, origins()[2]) <= 1e-6


def centred(series: object) -> np.ndarray:
    """A mean of the last, this and the next return: the leak of a centred window."""
    return np.convolve(np.nan_to_num(series.log_return), np.ones(3) / 3, "same")


def scaled_on_everything(frames: Frames) -> Frames:
    """Features scaled into the range of the whole history: the leak of a scaler fitted too early."""
    low, high = np.quantile(frames.features[frames.usable], (0.1, 0.9), axis=0).astype(np.float32)
    return replace(frames, features=(np.clip(frames.features, low, high) - low) / (high - low))


def full_sample_volatility(frames: Frames) -> Frames:
    """The unit of targets taken from the whole history."""
    level = np.nanmean(frames.volatility, axis=1, keepdims=True)
    return replace(frames, volatility=np.where(np.isfinite(frames.volatility), level, np.nan).astype(np.float32))


def labels_in_features(frames: Frames) -> Frames:
    """The next return written over a feature."""
    features = np.array(frames.features)
    features[..., 0] = np.where(frames.usable, np.nan_to_num(frames.future_return[..., 0]), features[..., 0])
    return replace(frames, features=features)


LEAKS = {
    "a centred feature": Pipeline(features=(*select_features(TINY.all_features), Feature("centred", 1, centred))),
    "a scaler fitted on everything": Pipeline(change=scaled_on_everything),
    "a volatility of everything": Pipeline(change=full_sample_volatility),
    "the next return as a feature": Pipeline(change=labels_in_features),
}


@pytest.mark.parametrize("leak", LEAKS)
def test_the_same_check_catches_a_leak(leak: str) -> None:
    origin = origins()[1]
    assert worst_change(LEAKS[leak], market(), garbage_after(market(), origin), origin) > 0.0
    assert worst_change(LEAKS[leak], market(), truncated(market(), origin), origin) > 1e-6
