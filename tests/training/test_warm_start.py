"""Folds that start from the previous fold's weights, and networks of one ticker each."""

import itertools
import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.dataset.folds import FoldSpec, walk_forward
from pipeline.dataset.frames import Frames, save_frames
from pipeline.errors import FitError, NothingUsableError, UsageError
from pipeline.experiment import Experiment
from pipeline.forecasters.recurrent.as_forecaster import can_learn_alone
from pipeline.forecasters.recurrent.fitting import EMBEDDING, repeatable, start_from
from pipeline.forecasters.recurrent.network import new_network
from pipeline.forecasters.recurrent.reading import network_arrays, reader_of
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.training_specification import refuse_shared_validation
from pipeline.forecasting.forecasts import fits_of, forecasts_by_forecaster
from pipeline.stages import folds_of
from pipeline.training.cache import FitCache
from pipeline.training.fits import fit, quantiles
from pipeline.training.jobs import FitJob, FitResult
from pipeline.training.schedule import KILLED, fit_all, fit_from_folder, raise_failures
from tests.execution.workers import children
from tests.panels import TINY, TINY_TRAINING, changed, fit_jobs, frames_from, jobs_for, random_market

WARM = changed(TINY, seeds=2, training=TINY_TRAINING.model_copy(update={"warm_start": True}))
OWN = changed(TINY, network=RecurrentSpec(hidden_size=6, scope="ticker"))


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(random_market(700, 3), TINY)


def chains(experiment: Experiment, frames: Frames) -> list[list[FitJob]]:
    """The network's jobs of each seed (and ticker), in the folds' order."""
    jobs, _ = jobs_for(frames, experiment)
    seeds = {(job.seed, job.tickers if experiment.network.scope == "ticker" else ()) for job in jobs}
    return [
        [job for job in jobs if job.seed == seed and (not who or job.tickers == who)] for seed, who in sorted(seeds)
    ]


def test_a_warm_fold_names_the_former_fit_of_its_seed(frames: Frames) -> None:
    for first, *later in chains(WARM, frames):
        assert first.starts_from is None
        assert len(later) >= 1
        for former, job in zip([first, *later], later, strict=False):
            assert job.starts_from == former.key
    assert all(job.starts_from is None for chain in chains(TINY, frames) for job in chain)


def test_the_key_changes_with_every_fold_before(frames: Frames) -> None:
    spoilt = replace(frames, features=frames.features.copy())
    first = chains(WARM, frames)[0][0]
    spoilt.features[:, first.fold.train.start + 60] += 1
    keys, others = ([job.key for job in chains(WARM, some)[0]] for some in (frames, spoilt))
    assert not set(keys) & set(others)


def test_training_begins_with_the_former_weights(frames: Frames) -> None:
    first, second = chains(WARM, frames)[0][:2]
    former = fit(first, frames)
    network = new_network(WARM.network, len(first.features), 2, torch.Generator().manual_seed(5), 3)
    start_from(network, former, second.tickers)
    for name, value in network_arrays(former).items():
        assert torch.equal(network.state_dict()[name], value)
    still = second.training.model_copy(update={"learning_rate": 1e-12})
    moved = fit(replace(second, training=still), frames, former)
    for name, value in former.arrays.items():
        if name.startswith("network."):
            np.testing.assert_allclose(moved.arrays[name], value, atol=1e-6)


def test_a_warm_fold_takes_its_share_of_the_steps(frames: Frames) -> None:
    first, second = chains(WARM, frames)[0][:2]
    former = fit(first, frames)
    assert former.checks[-1].step == TINY_TRAINING.max_steps
    assert fit(second, frames, former).checks[-1].step == TINY_TRAINING.max_steps // 2
    quarter = replace(second, training=second.training.model_copy(update={"warm_share": 0.25}))
    assert fit(quarter, frames, former).checks[-1].step == TINY_TRAINING.max_steps // 4


def test_settings_that_are_not_in_a_key_change_no_bit(frames: Frames) -> None:
    first, second = chains(WARM, frames)[0][:2]
    cold = replace(first, training=TINY_TRAINING.model_copy(update={"warm_share": 0.25, "deterministic": False}))
    assert cold.key == first.key
    former, same = fit(first, frames), fit(cold, frames)
    assert all(same.arrays[name].tobytes() == value.tobytes() for name, value in former.arrays.items())
    free = replace(second, training=second.training.model_copy(update={"deterministic": False}))
    assert free.key == second.key
    warm, other = fit(second, frames, former), fit(free, frames, former)
    assert all(other.arrays[name].tobytes() == value.tobytes() for name, value in warm.arrays.items())


def test_a_ticker_that_is_new_begins_like_an_unknown_one(frames: Frames) -> None:
    spec = RecurrentSpec(hidden_size=6, embedding_size=3)
    job = jobs_for(frames, changed(TINY, network=spec))[0][0]
    former = fit(job, frames)
    network = new_network(spec, len(job.features), 2, torch.Generator(), len(job.tickers) + 1)
    start_from(network, former, ("NEW", *reversed(job.tickers)))
    old, new = network_arrays(former)[EMBEDDING], network.state_dict()[EMBEDDING]
    assert torch.equal(new[0], old[0])
    assert torch.equal(new[1], old[0])
    assert torch.equal(new[2:], old[1:].flip(0))


def test_weights_of_another_network_are_refused(frames: Frames) -> None:
    first, second = chains(WARM, frames)[0][:2]
    other = fit(replace(first, forecaster=RecurrentSpec(hidden_size=5)), frames)
    with pytest.raises(FitError, match="train without warm_start"):
        fit(second, frames, other)


@pytest.mark.parametrize("workers", [1, 2])
def test_folds_wait_for_what_they_start_from(frames: Frames, tmp_path: Path, workers: int) -> None:
    jobs = [job for chain in chains(WARM, frames) for job in reversed(chain)]
    order = [result.job.key for result in fit_jobs(jobs, frames, tmp_path, workers)]
    assert sorted(order) == sorted(job.key for job in jobs)
    for job in jobs:
        assert job.starts_from is None or order.index(job.starts_from) < order.index(job.key)


def test_the_bits_do_not_depend_on_workers_or_on_what_is_cached(frames: Frames, tmp_path: Path) -> None:
    jobs = chains(WARM, frames)[0]
    alone = {result.job.key: result.fitted for result in fit_jobs(jobs, frames, tmp_path / "alone")}
    save_frames(frames, tmp_path / "frames")
    cache = FitCache(tmp_path / "kept")
    list(fit_all(jobs[:1], tmp_path / "frames", cache, 1))
    again = list(fit_all(jobs, tmp_path / "frames", cache, 2))
    assert [result.cached for result in again] == [True] + [False] * (len(jobs) - 1)
    for result in again:
        for name, value in alone[result.job.key].arrays.items():
            assert result.fitted.arrays[name].tobytes() == value.tobytes()


def test_a_fold_whose_former_fit_failed_says_so(frames: Frames, tmp_path: Path) -> None:
    save_frames(frames, tmp_path / "frames")
    first, second, *_ = chains(WARM, frames)[0]
    failing = replace(first, training=first.training.model_copy(update={"learning_rate": 1e30}))
    follower = replace(second, starts_from=failing.key)
    results = list(fit_all([failing, follower], tmp_path / "frames", FitCache(tmp_path / "kept"), 1))
    assert [result.fitted for result in results] == [None, None]
    assert "the previous fold" in results[1].error
    with pytest.raises(FitError, match="2 of 2 fits failed"):
        raise_failures(results)
    assert "the previous fold" in fit_from_folder(second, tmp_path / "frames").error


def test_a_network_per_ticker_learns_from_its_own_rows_alone(frames: Frames) -> None:
    for chain in chains(OWN, frames):
        assert len(chain[0].tickers) == 1
    job = chains(OWN, frames)[0][0]
    others = replace(frames, features=frames.features.copy())
    others.features[[row for row, ticker in enumerate(frames.tickers) if ticker not in job.tickers]] *= 3
    first, second = fit(job, frames), fit(job, others)
    assert all(first.arrays[name].tobytes() == second.arrays[name].tobytes() for name in first.arrays)


def test_a_warm_network_of_one_ticker_begins_from_its_own_former_one(frames: Frames) -> None:
    both = changed(WARM, network=RecurrentSpec(hidden_size=6, scope="ticker"))
    keys = {job.key: job for job in jobs_for(frames, both)[0]}
    warm = [job for job in keys.values() if job.starts_from]
    assert len({job.tickers for job in warm}) >= 2
    for job in warm:
        former = keys[job.starts_from]
        assert (former.tickers, former.seed) == (job.tickers, job.seed)
        assert former.fold.test.stop == job.fold.test.start


def test_each_ticker_is_forecast_by_its_own_network_and_a_new_one_by_all(frames: Frames) -> None:
    jobs = [chain[0] for chain in chains(OWN, frames)]
    known, origins = jobs[:2], slice(500, 520)
    fits = [fit(job, frames) for job in known]
    found = forecasts_by_forecaster(fits, frames, origins)["network"]
    for fitted in fits:
        row = frames.tickers.index(fitted.tickers[0])
        np.testing.assert_allclose(found[row], quantiles(fitted, frames, origins)[row], atol=1e-7)
    (new,) = [row for row, ticker in enumerate(frames.tickers) if all(ticker not in job.tickers for job in known)]
    mean = np.mean([quantiles(fitted, frames, origins)[new] for fitted in fits], axis=0)
    assert np.isfinite(found[new]).any()
    np.testing.assert_allclose(found[new], mean, atol=1e-7)


def test_one_network_for_all_differs_from_one_each(frames: Frames) -> None:
    together, by_ticker = jobs_for(frames, TINY)[0][0], chains(OWN, frames)[0][0]
    assert len(together.tickers) == 2  # the third is listed later
    assert together.key != by_ticker.key


def test_deterministic_algorithms_are_required_on_a_gpu_alone() -> None:
    before = torch.are_deterministic_algorithms_enabled()
    for device, wanted, within in (("cpu", True, before), ("cuda", False, before), ("cuda", True, True)):
        with repeatable(device, wanted):
            assert torch.are_deterministic_algorithms_enabled() == within
        assert torch.are_deterministic_algorithms_enabled() == before


def test_a_cached_warm_fit_is_read_as_any_other(frames: Frames, tmp_path: Path) -> None:
    first, second = chains(WARM, frames)[0][:2]
    fitted = fit(second, frames, fit(first, frames))
    cache = FitCache(tmp_path)
    cache.put(second, fitted)
    found = cache.get(second)
    assert found is not None
    assert reader_of(found).tickers == second.tickers


def test_a_young_ticker_and_one_without_a_late_label_get_no_network_of_their_own(frames: Frames) -> None:
    fold = jobs_for(frames, TINY)[1][0]
    every = can_learn_alone(frames, fold, 10)
    assert every.tolist() == [True, True, False]
    assert not can_learn_alone(frames, fold, fold.train.stop).any(), "no label has so many sessions before it"
    blind = replace(frames, future_return=frames.future_return.copy())
    blind.future_return[0, fold.validation.start : fold.validation.stop, 1] = np.nan
    assert can_learn_alone(blind, fold, 10).tolist() == [False, True, False]


def test_a_fold_in_which_no_ticker_can_learn_alone_is_left_out(frames: Frames) -> None:
    every = folds_of(frames, TINY)
    early = replace(frames, usable=frames.usable.copy())
    early.usable[:, : every[0].train.stop - 1] = False
    early.usable[0, : every[0].train.stop] = frames.usable[0, : every[0].train.stop]
    alone = replace(early, features=early.features.copy())
    alone.features[0, : every[0].train.stop - 3] = np.nan
    left = folds_of(alone, OWN)
    assert {fold.name for fold in left} < {fold.name for fold in folds_of(alone, TINY)}
    nothing = replace(frames, features=np.full_like(frames.features, np.nan))
    with pytest.raises(NothingUsableError, match="network of its own"):
        folds_of(nothing, OWN)


def test_the_bits_do_not_depend_on_the_order_in_which_fits_finish(frames: Frames) -> None:
    jobs, (fold, *_) = jobs_for(frames, OWN)
    results = [FitResult(job, fit(job, frames)) for job in jobs if job.fold.name == fold.name]
    found = [[fitted.tickers for fitted in fits_of(order, fold)] for order in (results, results[::-1])]
    assert found == [[("T0",), ("T1",)]] * 2


def test_a_killed_worker_is_reported_for_every_fold_that_waited_and_no_other(frames: Frames, tmp_path: Path) -> None:
    training = WARM.training.model_copy(update={"min_steps": 200, "max_steps": 200})
    jobs, _ = jobs_for(frames, changed(WARM, training=training))
    save_frames(frames, tmp_path / "frames")
    before = children()

    def kill_one() -> None:
        while not (workers := children() - before):
            time.sleep(0.05)
        os.kill(min(workers), signal.SIGKILL)  # while it still imports what a fit needs

    killer = threading.Thread(target=kill_one)
    killer.start()
    results = list(fit_all(jobs, tmp_path / "frames", FitCache(tmp_path / "kept"), 2))
    killer.join()
    assert {result.job.key for result in results} == {job.key for job in jobs}
    (killed,) = (result for result in results if result.error == KILLED)
    assert killed.fitted is None
    assert killed.job.starts_from is None
    for result in results:
        if result.job.seed != killed.job.seed:
            assert result.fitted is not None, result.error
        elif result is not killed:
            assert result.fitted is None
            assert result.error == "the fit of the previous fold, which it starts from, failed"


@pytest.mark.parametrize("refit", [3, 6, 9])
@pytest.mark.parametrize("validation", [3, 6, 9])
@pytest.mark.parametrize("calibration", [0, 3])
def test_a_warm_fold_is_not_stopped_by_rows_that_chose_its_first_weights(
    refit: int, validation: int, calibration: int, frames: Frames
) -> None:
    spec = FoldSpec(refit_months=refit, validation_months=validation, calibration_months=calibration)
    folds = walk_forward(frames.sessions, frames.usable, spec)
    shared = any(later.validation.start < former.validation.stop for former, later in itertools.pairwise(folds))
    if not shared:
        refuse_shared_validation(WARM.training, spec)
        return
    refuse_shared_validation(TINY_TRAINING, spec)
    with pytest.raises(UsageError, match=f"validation_months {validation} and folds.refit_months {refit}: .* at most"):
        refuse_shared_validation(WARM.training, spec)


def test_a_fixed_split_has_no_former_fold() -> None:
    spec = FoldSpec(refit_months=3, validation_months=9, train_end="2020-12-31", valid_end="2021-12-31")
    refuse_shared_validation(WARM.training, spec)
