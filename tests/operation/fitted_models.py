"""Trained models of small fits for the tests of model versions."""

from datetime import UTC, date, datetime
from pathlib import Path

from pipeline.market.universe import MembershipPeriod, Universe
from pipeline.operation.model import BacktestReference, TrainedModel
from pipeline.operation.publication import Publication
from pipeline.training.jobs import FitResult
from tests.panels import TINY, fit_jobs, frames_from, jobs_for, random_market

NOW = datetime(2024, 1, 2, 22, 30, tzinfo=UTC)
DATED = Universe("some", ("T0",), (MembershipPeriod("T0", date(2020, 1, 2), None),))
CHOSEN = Publication("network", {1: "network", 2: "ewma"}, {2: {"T1": "network"}})
BACKTEST = BacktestReference(date(2024, 1, 2), "The network is better than every baseline.", "abcd")


def small_fits(folder: Path, kinds: tuple[str, ...] = ("network", "ewma")) -> list[FitResult]:
    """The fits of the last fold of a small made market of three tickers."""
    frames = frames_from(random_market(500, 3))
    jobs, _ = jobs_for(frames, kinds=kinds, folds=slice(-1, None))
    return fit_jobs(jobs, frames, folder)


def trained(market_members: tuple[str, ...], results: list[FitResult], calendar: str = "XNYS") -> TrainedModel:
    """A trained model of a calendar, which these market members tell from another."""
    return TrainedModel(calendar, TINY, market_members, ("BTC-USD",), DATED, tuple(results), CHOSEN, BACKTEST)
