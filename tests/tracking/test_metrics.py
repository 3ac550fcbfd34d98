"""Metrics of fits: one network per seed, or one per seed and ticker."""

from dataclasses import replace

import pytest

from pipeline.forecasters.forecaster import Fitted, ValidationCheck
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.tracking.metrics import fit_values
from pipeline.tracking.record import by_kind_and_seed, fold_params
from pipeline.training.jobs import FitResult
from tests.panels import TINY, changed, frames_from, jobs_for, random_market

FITTED = Fitted(
    RecurrentSpec(), (), ("A",), 1, 160, {}, (ValidationCheck(10, 0.5, 0.4), ValidationCheck(20, 0.3, 0.2)), 20, 1.5
)
OTHER = replace(FITTED, tickers=("B",), checks=(ValidationCheck(10, 0.7, 0.6),), best_step=10, seconds=0.5)


def points(*fits: Fitted) -> dict[tuple[str, int], float]:
    found = list(fit_values(fits, 3))
    named = {(point.key, point.step): point.value for point in found}
    assert len(named) == len(found), "no metric is written twice"
    return named


def test_one_network_has_its_own_metrics() -> None:
    assert points(FITTED) == {
        ("fit_seconds/network_seed_3", 0): 1.5,
        ("fit_loss/train_seed_3", 10): 0.5,
        ("fit_loss/valid_seed_3", 10): 0.4,
        ("fit_loss/train_seed_3", 20): 0.3,
        ("fit_loss/valid_seed_3", 20): 0.2,
        ("fit_stopped/best_step_seed_3", 0): 20,
    }


def test_networks_of_one_ticker_each_have_mean_metrics() -> None:
    found = points(FITTED, OTHER)
    assert found[("fit_seconds/network_seed_3", 0)] == 2.0
    assert found[("fit_loss/train_seed_3", 10)] == pytest.approx(0.6)
    assert found[("fit_loss/valid_seed_3", 10)] == pytest.approx(0.5)
    assert found[("fit_loss/valid_seed_3", 20)] == pytest.approx(0.4), "B stopped after 10 steps, at 0.6"
    assert found[("fit_stopped/best_step_seed_3", 0)] == 15


def test_a_bad_network_that_stopped_early_does_not_leave_the_mean() -> None:
    """B was best at its first look and stopped after two more: from then on it is what it kept."""
    bad = replace(
        OTHER,
        checks=(ValidationCheck(10, 0.7, 5.0), ValidationCheck(15, 0.6, 6.0), ValidationCheck(20, 0.5, 7.0)),
        best_step=10,
    )
    good = replace(FITTED, checks=tuple(ValidationCheck(step, 0.5, 1.0) for step in (8, 16, 24, 32)), best_step=32)
    for order in ((bad, good), (good, bad)):
        found = points(*order)
        means = {step: value for (key, step), value in found.items() if key == "fit_loss/valid_seed_3"}
        assert means == {10: 3.0, 15: 3.5, 16: 3.5, 20: 4.0, 24: 3.0, 32: 3.0}
        train = {step: value for (key, step), value in found.items() if key == "fit_loss/train_seed_3"}
        assert train == pytest.approx({10: 0.6, 15: 0.55, 16: 0.55, 20: 0.5, 24: 0.6, 32: 0.6})


def test_fits_that_were_not_trained_by_steps_have_seconds_alone() -> None:
    assert points(replace(FITTED, checks=(), best_step=0)) == {("fit_seconds/network_seed_3", 0): 1.5}


def test_the_fits_of_a_fold_stand_by_kind_and_seed() -> None:
    experiment = changed(TINY, seeds=2, network=RecurrentSpec(hidden_size=6, scope="ticker"))
    jobs, (fold, *_) = jobs_for(frames_from(random_market(700, 4)), experiment, ("network", "ewma"))
    results = [FitResult(job, replace(FITTED, forecaster=job.forecaster)) for job in jobs if job.fold.name == fold.name]
    grouped = [(seed, fits[0].forecaster.kind, len(fits)) for seed, fits in by_kind_and_seed(results)]
    assert sorted(grouped) == [(0, "ewma", 1), (0, "network", 3), (1, "network", 3)]
    params = fold_params(fold, results)
    assert params["seeds.network"] == "0 1"
    assert all(ticker in params["trained_on"] for ticker in ("T0", "T1", "T2"))
