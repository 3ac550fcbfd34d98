"""Small models end to end: a planted signal is found, nothing is found in a random walk, one bar retrains nothing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.dataset.folds import FoldSpec
from pipeline.dataset.frames import save_frames
from pipeline.evaluation.comparisons import comparison_table, pooled
from pipeline.evaluation.echo import echo_of
from pipeline.evaluation.scores import POOLED, score_table
from pipeline.evaluation.trials import Trials
from pipeline.evaluation.verdict import verdict
from pipeline.experiment import Experiment
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.forecasting.backtest import Backtest, build_backtest
from pipeline.market.specification import SyntheticSource
from pipeline.training.cache import FitCache
from pipeline.training.schedule import fit_all
from tests.panels import (
    NOW,
    TINY,
    changed,
    fit_jobs,
    frames_from,
    jobs_for,
    random_market,
    random_rows,
    synthetic_frames,
)

FAST = ("network", "climatology", "last_close", "drift", "ewma")


def small(source: SyntheticSource) -> Experiment:
    return Experiment(
        source=source,
        horizons=1,
        network=RecurrentSpec(hidden_size=16),
        training=TrainingSpec(min_steps=150, max_steps=150, batch_chunks=16, learning_rate=1e-2),
        folds=FoldSpec(train_end="2021-12-31", valid_end="2022-12-30"),
        seeds=1,
    )


def backtest_of(source: SyntheticSource, folder: Path) -> Backtest:
    experiment = small(source)
    frames = synthetic_frames(source, experiment)
    jobs, folds = jobs_for(frames, experiment, kinds=FAST)
    return build_backtest(fit_jobs(jobs, frames, folder), folds, frames)


def test_a_planted_signal_is_found(tmp_path: Path) -> None:
    source = SyntheticSource(process="planted", sessions=2000, tickers=8, strength=0.4)
    backtest = backtest_of(source, tmp_path)
    scores = score_table(backtest)
    comparisons = comparison_table(backtest, Trials())
    echo = echo_of(backtest, "network", claims=False, trials=Trials())
    against = pooled(comparisons, "network", 1).loc["climatology"]
    assert against["skill"] > 0.05  # the best possible: 1 - sqrt(1 - 0.4^2) = 8.3 %
    assert against["skill"] < 0.095
    assert against["t"] < -4
    found = verdict(comparisons, "network", echo, Trials())
    assert echo.name == "informs"
    assert found.sentence.startswith("The network is better than every baseline")
    network = scores[(scores["ticker"] == POOLED) & (scores["forecaster"] == "network")].iloc[0]
    assert network["directional_accuracy"] > 0.58
    assert network["rmse_return"] == pytest.approx(0.01, rel=0.03)


def test_nothing_is_found_in_a_random_walk(tmp_path: Path) -> None:
    backtest = backtest_of(SyntheticSource(process="random_walk", sessions=2000, tickers=8), tmp_path)
    against = pooled(comparison_table(backtest, Trials()), "network", 1).loc["climatology"]
    assert against["skill"] < 0.003
    assert against["conclusion"] != "better"
    assert against["skill"] > -0.03  # nor does it do real harm
    assert echo_of(backtest, "network", claims=False, trials=Trials()).name == "no claim"
    where = backtest.scored[..., 0]
    outcome = backtest.realised[where, 0].astype(np.float64)
    median = backtest.quantiles["network"][where, 0, 3].astype(np.float64)
    assert np.mean((outcome - median) ** 2) > 0.999 * np.mean(outcome**2)


def one_session_less(rows: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {ticker: frame.iloc[:-1] for ticker, frame in rows.items()}


def test_one_bar_appended_retrains_nothing(tmp_path: Path) -> None:
    experiment = changed(TINY, seeds=2)
    rows = random_market(700, 4)
    before, after = (frames_from(r, experiment) for r in (one_session_less(rows), rows))
    assert len(after.sessions) == len(before.sessions) + 1
    assert after.sessions[-1] <= np.datetime64(NOW.date())
    (old, old_folds), (new, new_folds) = (jobs_for(frames, experiment, kinds=FAST) for frames in (before, after))
    assert len(old_folds) == len(new_folds) == 2
    assert len(new_folds[-1].test) == len(old_folds[-1].test) + 1
    assert [job.key for job in new] == [job.key for job in old]
    save_frames(before, tmp_path / "before")
    save_frames(after, tmp_path / "after")
    kept = FitCache(tmp_path / "kept")
    first = list(fit_all(old, tmp_path / "before", kept, 1))
    second = list(fit_all(new, tmp_path / "after", kept, 1))
    assert not any(result.cached for result in first)
    assert all(result.cached for result in second)
    backtests = [build_backtest(r, f, x) for r, f, x in ((first, old_folds, before), (second, new_folds, after))]
    for name in FAST:
        old_values, new_values = (b.quantiles[name] for b in backtests)
        assert new_values.shape[1] == old_values.shape[1] + 1
        assert np.nanmax(np.abs(new_values[:, :-1] - old_values)) <= 1e-6
    touched = {**rows, "T0": pd.concat([random_rows(1, 1, rows["T0"]["session"].iloc[0]), rows["T0"].iloc[1:]])}
    changed_jobs = jobs_for(frames_from(touched, experiment), experiment, kinds=FAST)[0]
    # A baseline reads no feature: only a changed return touches it.
    networks = [{job.key for job in jobs if job.forecaster.kind == "network"} for jobs in (new, changed_jobs)]
    assert len(networks[0]) > 0
    assert networks[0].isdisjoint(networks[1])
