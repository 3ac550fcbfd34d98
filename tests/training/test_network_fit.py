"""Training a network: the first loss by a slow twin, the best weights kept, bounds, and what must not be seen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.dataset.folds import FoldSpec
from pipeline.dataset.frames import Frames
from pipeline.dataset.scaling import Scaler, fit_scaler
from pipeline.errors import FitError
from pipeline.experiment import Experiment
from pipeline.models.losses import masked_mean, pinball
from pipeline.models.network import new_network
from pipeline.models.specification import LEVELS, RecurrentSpec
from pipeline.training.fits import fit, quantiles
from pipeline.training.jobs import FitJob, Fitted
from pipeline.training.labels import label_mask
from pipeline.training.network import (
    Chunks,
    Supervision,
    Validation,
    fit_network,
    steps,
    steps_for,
    supervision,
    train,
)
from pipeline.training.reading import load_network
from pipeline.training.specification import TrainingSpec
from tests.panels import TINY, changed, frames_from, jobs_for, random_market, random_rows

SCHOOLED = TrainingSpec(
    fewest_steps=40, most_steps=40, looks=10, patience_looks=3, batch_chunks=8, chunk_sessions=80, burn_in_sessions=10
)


@pytest.fixture(scope="module")
def frames() -> Frames:
    return frames_from(random_market(500, 4))


@pytest.fixture(scope="module")
def job(frames: Frames) -> FitJob:
    return jobs_for(frames)[0][0]


def seen_by(job: FitJob, frames: Frames) -> Frames:
    return frames.until(job.fold.validation.stop).of(job.tickers).with_features(job.features)


def same_arrays(a: Fitted, b: Fitted) -> bool:
    return a.arrays.keys() == b.arrays.keys() and all(a.arrays[k].tobytes() == b.arrays[k].tobytes() for k in a.arrays)


def young_and_gone(dropout: float = 0.0) -> tuple[FitJob, Frames]:
    """Three long tickers, one that ends early, and one listed 80 sessions before the training ends."""
    rows = {f"T{k}": random_rows(500, k) for k in range(3)}
    frames = frames_from({**rows, "GONE": random_rows(500, 8).iloc[:160], "YOUNG": random_rows(330, 9)})
    experiment = changed(TINY, network=RecurrentSpec(hidden_size=6, dropout=dropout))
    job = jobs_for(frames, experiment)[0][0]
    assert job.fold.train.stop == 250
    return job, frames


def test_only_labels_known_before_the_training_ends_are_supervised(frames: Frames, job: FitJob) -> None:
    seen, part = seen_by(job, frames), job.fold.train
    data = supervision(seen, fit_scaler(seen, part), part, "cpu")
    assert data.features.shape[:2] == (len(seen.tickers), part.stop)
    mask = label_mask(seen, job.fold.validation)
    for i in range(len(seen.tickers)):
        for t in range(len(seen.sessions)):
            for h in (1, 2):
                y = float(frames.future_return[i, t, h - 1])
                there = bool(frames.usable[i, t]) and np.isfinite(y)
                validated = there and part.stop <= t and t + h < job.fold.validation.stop
                assert mask[i, t, h - 1] == validated
                if t < part.stop:
                    assert bool(data.known[i, t, h - 1]) == (there and t + h < part.stop)
                    expected = y / (float(frames.volatility[i, t]) * h**0.5) if data.known[i, t, h - 1] else 0.0
                    assert float(data.target[i, t, h - 1]) == pytest.approx(expected, rel=1e-5)


def test_the_first_loss_is_that_of_a_plain_loop() -> None:
    """Chunk by chunk, without padding: burn-in and unknown labels are left out, every label weighs the same."""
    job, frames = young_and_gone()
    seen = seen_by(job, frames)
    data = supervision(seen, fit_scaler(seen, job.fold.train), job.fold.train, "cpu")
    training = job.training.model_copy(update={"batch_chunks": 64, "chunk_sessions": 120})
    network = new_network(job.forecaster, len(job.features), frames.horizons, torch.Generator().manual_seed(1))
    ticker, session, inside = Chunks(data, training).draw(torch.Generator().manual_seed(2))
    losses = []
    with torch.no_grad():
        for b in range(64):
            i, days = int(ticker[b]), [int(s) for s, there in zip(session[b], inside[b], strict=True) if there]
            q = network(data.features[i : i + 1, days[0] : days[-1] + 1])[0]
            for k, t in enumerate(days):
                for h in range(frames.horizons):
                    if k >= training.burn_in_sessions and data.known[i, t, h]:
                        y = float(data.target[i, t, h])
                        pairs = [(float(v), level) for v, level in zip(q[k, h], LEVELS, strict=True)]
                        losses.append(sum(max(a * (y - v), (a - 1) * (y - v)) for v, a in pairs) / len(LEVELS))
    assert not inside.all()  # the case with padding is there
    _, found = next(steps(network, data, training, 8, torch.Generator().manual_seed(2)))
    assert float(found) == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_chunks_lie_within_the_series_and_start_anywhere_with_equal_chance() -> None:
    job, frames = young_and_gone()
    seen = seen_by(job, frames)
    data = supervision(seen, fit_scaler(seen, job.fold.train), job.fold.train, "cpu")
    training = job.training.model_copy(update={"batch_chunks": 20_000})
    ticker, session, inside = Chunks(data, training).draw(torch.Generator().manual_seed(1))
    assert ((session[:, 1:] - session[:, :-1] == 1) | ~inside[:, 1:]).all()
    starts = {i: session[ticker[:, 0] == i, 0].numpy() for i in range(len(seen.tickers))}
    for i, own in starts.items():
        assert own.min() >= seen.first[i]
        assert own.max() < 250
    assert seen.tickers[1] == "T0"
    counts = np.bincount(starts[1])[starts[1].min() :]
    assert (starts[1].min(), len(counts)) == (seen.first[1], 250 - 60 - seen.first[1] + 1)
    expected = counts.mean()
    assert ((counts - expected) ** 2 / expected).sum() == pytest.approx(len(counts), rel=0.3)  # chi squared


def test_every_drawn_chunk_supervises_something() -> None:
    job, frames = young_and_gone()
    seen = seen_by(job, frames)
    data = supervision(seen, fit_scaler(seen, job.fold.train), job.fold.train, "cpu")
    training = job.training.model_copy(update={"batch_chunks": 5000})
    ticker, session, inside = Chunks(data, training).draw(torch.Generator().manual_seed(0))
    known = data.known[ticker, session].any(dim=2) & inside
    known[:, : training.burn_in_sessions] = False
    empty = {seen.tickers[i]: int((~known.any(dim=1)[ticker[:, 0] == i]).sum()) for i in range(len(seen.tickers))}
    assert empty == dict.fromkeys(seen.tickers, 0)
    assert set(ticker[:, 0].tolist()) == set(range(len(seen.tickers)))


def trained(data: Supervision, job: FitJob, frames: Frames, scaler: Scaler) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    network = new_network(job.forecaster, data.features.shape[2], frames.horizons, generator)
    train(network, data, job, Validation(frames, scaler, job), generator)
    return network.state_dict()


def test_what_is_masked_changes_nothing() -> None:
    """Rows before a ticker's first, unknown labels, and what the padding of a chunk would read."""
    job, frames = young_and_gone(dropout=0.2)
    seen = seen_by(job, frames)
    scaler = fit_scaler(seen, job.fold.train)
    data = supervision(seen, scaler, job.fold.train, "cpu")
    features, target = data.features.clone(), torch.where(data.known, data.target, torch.tensor(1e6))
    for i, first in enumerate(seen.first):
        features[i, :first] = 1e3
    expected = trained(data, job, seen, scaler)
    found = trained(replace(data, features=features, target=target), job, seen, scaler)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    features[0, 59:] += 0.1  # while rows that are read do matter
    other = trained(replace(data, features=features), job, seen, scaler)
    assert not torch.equal(other["head.linear.weight"], expected["head.linear.weight"])


def test_a_young_ticker_among_long_ones_is_trained_on_and_forecast() -> None:
    experiment = Experiment(
        source=TINY.source,
        horizons=2,
        network=TINY.network,
        training=TrainingSpec(fewest_steps=4, most_steps=4, looks=2, batch_chunks=16),
        folds=FoldSpec(train_end="2023-12-18", valid_end="2023-12-22"),
        seeds=1,
    )
    rows = {f"T{k}": random_rows(400, k) for k in range(3)}
    frames = frames_from({**rows, "YOUNG": random_rows(110, 9)}, experiment)
    (job,), (fold,) = jobs_for(frames, experiment)
    assert frames.usable[3].sum() == 11
    assert "YOUNG" in job.tickers
    seen = seen_by(job, frames)
    data = supervision(seen, fit_scaler(seen, fold.train), fold.train, "cpu")
    assert 0 < data.known[3].any(dim=1).sum() <= 11
    many = job.training.model_copy(update={"batch_chunks": 5000})
    ticker, session, inside = Chunks(data, many).draw(torch.Generator().manual_seed(0))
    young = ticker[:, 0] == 3
    assert young.any()
    known = (data.known[ticker, session].any(dim=2) & inside)[young]
    assert known[:, job.training.burn_in_sessions :].any()
    forecast = quantiles(fit(job, frames), frames, slice(len(frames.sessions) - 15, len(frames.sessions)))
    assert np.isfinite(forecast[3, -11:]).all()
    assert np.isnan(forecast[3, :-11]).all()


def test_a_ticker_whose_first_session_lies_in_the_validation_range_stops_no_fit() -> None:
    """It has no forecast at the origins before its first; those are not scored, and the loss stays finite."""
    frames = frames_from({**{f"T{k}": random_rows(500, k) for k in range(3)}, "ZNEW": random_rows(285, 9)})
    job = jobs_for(frames)[0][0]
    part = job.fold.validation
    assert part.start < frames.first[3] < part.stop
    assert "ZNEW" in job.tickers
    fitted = fit(job, frames)
    forecast = quantiles(fitted, frames, slice(part.start, part.stop))
    np.testing.assert_array_equal(np.isfinite(forecast).all(axis=(2, 3)), frames.usable[:, part.start : part.stop])


def test_same_job_same_bits_whatever_the_global_generators_say(frames: Frames, job: FitJob) -> None:
    fits = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        fits.append(fit(job, frames))
    assert same_arrays(*fits)
    assert fits[0].checks == fits[1].checks
    assert not same_arrays(fits[0], fit(replace(job, seed=job.seed + 1), frames))


def test_a_fit_sees_nothing_after_its_validation(frames: Frames, job: FitJob) -> None:
    stop = job.fold.validation.stop
    later = np.arange(len(frames.sessions)) >= stop
    noise = np.random.default_rng(0)
    spoilt = replace(
        frames,
        features=np.where(later[:, None], np.float32(9.0), frames.features),
        log_return=np.where(later, np.float32(0.2), frames.log_return),
        volatility=np.where(later, np.float32(0.5), frames.volatility),
        future_return=np.where(
            (np.arange(len(later))[:, None] + np.arange(1, 3)) >= stop,
            noise.normal(size=frames.future_return.shape).astype(np.float32),
            frames.future_return,
        ),
    )
    assert same_arrays(fit(job, frames), fit(job, spoilt))
    known = np.array(frames.future_return)
    known[:, : job.fold.train.stop] *= 1.01  # while the labels of the training range do count
    assert not same_arrays(fit(job, frames), fit(job, replace(frames, future_return=known)))


def test_the_weights_ignore_validation_labels_that_only_stop_the_training(frames: Frames, job: FitJob) -> None:
    """Validation decides which weights are kept, never what the gradient sees: its first look is the same."""
    part = slice(job.fold.validation.start, job.fold.validation.stop)
    other = np.array(frames.future_return)
    other[:, part] *= -3.0
    first, second = fit(job, frames), fit(job, replace(frames, future_return=other))
    shared = min(len(first.checks), len(second.checks))
    assert [c.train_loss for c in first.checks[:shared]] == [c.train_loss for c in second.checks[:shared]]
    assert first.checks[0].valid_loss != second.checks[0].valid_loss


def test_the_best_weights_are_kept(frames: Frames) -> None:
    harsh = SCHOOLED.model_copy(update={"learning_rate": 0.3})  # so that the last look is not the best
    job = jobs_for(frames, changed(TINY, training=harsh))[0][0]
    fitted, seen = fit(job, frames), seen_by(job, frames)
    scaler = Scaler(fitted.arrays["scaler.mean"], fitted.arrays["scaler.std"])
    losses = {check.step: check.valid_loss for check in fitted.checks}
    assert losses[fitted.best_step] == min(losses.values())
    assert fitted.best_step != fitted.checks[-1].step
    assert Validation(seen, scaler, job).loss(load_network(fitted)) == pytest.approx(min(losses.values()), abs=1e-7)


def test_training_stops_when_looks_bring_nothing_better(frames: Frames) -> None:
    harsh = SCHOOLED.model_copy(update={"learning_rate": 0.3, "patience_looks": 2})
    steps_seen = [check.step for check in fit(jobs_for(frames, changed(TINY, training=harsh))[0][0], frames).checks]
    assert steps_seen == list(range(4, 4 * len(steps_seen) + 1, 4))
    calm = SCHOOLED.model_copy(update={"patience_looks": 99})
    fitted = fit(jobs_for(frames, changed(TINY, training=calm))[0][0], frames)
    assert [check.step for check in fitted.checks] == list(range(4, 41, 4))
    losses = [check.valid_loss for check in fit(jobs_for(frames, changed(TINY, training=harsh))[0][0], frames).checks]
    best = losses.index(min(losses))
    assert len(losses) == min(best + 3, 10)


def test_the_validation_loss_is_the_mean_pinball_of_the_known_labels(frames: Frames, job: FitJob) -> None:
    fitted, seen, part = fit(job, frames), seen_by(job, frames), job.fold.validation
    log_quantiles = quantiles(fitted, frames, slice(part.start, part.stop))
    losses = []
    for i in range(len(frames.tickers)):
        for t in range(part.start, part.stop):
            for h in range(1, 3):
                y = float(frames.future_return[i, t, h - 1])
                if t + h < part.stop and frames.usable[i, t] and np.isfinite(y):
                    unit = float(frames.volatility[i, t]) * h**0.5
                    errors = [(y - float(v)) / unit for v in log_quantiles[i, t - part.start, h - 1]]
                    losses.append(sum(max(a * e, (a - 1) * e) for a, e in zip(LEVELS, errors, strict=True)) / 7)
    scaler = Scaler(fitted.arrays["scaler.mean"], fitted.arrays["scaler.std"])
    found = Validation(seen, scaler, job).loss(load_network(fitted))
    assert found == pytest.approx(sum(losses) / len(losses), rel=1e-5)


def test_training_lowers_the_loss_of_what_it_is_trained_on(frames: Frames) -> None:
    job = jobs_for(frames, changed(TINY, training=SCHOOLED.model_copy(update={"patience_looks": 99})))[0][0]
    seen = seen_by(job, frames)
    scaler = fit_scaler(seen, job.fold.train)
    data = supervision(seen, scaler, job.fold.train, "cpu")
    generator = torch.Generator().manual_seed(5)
    network = new_network(job.forecaster, data.features.shape[2], 2, generator)

    def loss() -> float:
        with torch.no_grad():
            q = torch.cat([network(data.features[i : i + 1, 59:]) for i in range(3)])
        return float(masked_mean(pinball(q, data.target[:3, 59:]), data.known[:3, 59:]))

    before = loss()
    train(network, data, job, Validation(seen, scaler, job), generator)
    assert loss() < before * 0.995


@pytest.mark.parametrize(("fewest", "most", "epochs"), [(1, 10_000, 1), (1, 10_000, 7), (50, 60, 1), (1, 3, 50)])
def test_the_number_of_steps_is_epochs_over_the_supervised_sessions_within_bounds(
    frames: Frames, job: FitJob, fewest: int, most: int, epochs: int
) -> None:
    seen = seen_by(job, frames)
    data = supervision(seen, fit_scaler(seen, job.fold.train), job.fold.train, "cpu")
    training = job.training.model_copy(update={"fewest_steps": fewest, "most_steps": most, "epochs": epochs})
    known = data.known.numpy()
    supervised = sum(bool(known[i, t].any()) for i in range(known.shape[0]) for t in range(known.shape[1]))
    exact = epochs * supervised / (4 * 50)
    found = steps_for(data, training)
    assert fewest <= found <= most
    assert found in (fewest, most) or exact <= found < exact + 1


def test_a_loss_that_is_not_finite_is_an_error_in_words(frames: Frames, job: FitJob) -> None:
    wild = replace(job, training=job.training.model_copy(update={"learning_rate": 1e30}))
    with pytest.raises(FitError, match="the loss is not finite at step"):
        fit(wild, frames)


def test_no_label_to_learn_from_is_an_error_in_words(frames: Frames, job: FitJob) -> None:
    empty = replace(job.fold.train, stop=30)
    for kind in jobs_for(frames, kinds=("network", "linear"), folds=slice(1))[0]:
        with pytest.raises(FitError, match=r"no (label to learn from|usable origin to scale by)"):
            fit(replace(kind, fold=replace(kind.fold, train=empty)), frames)


def test_no_label_to_validate_with_is_an_error_in_words(frames: Frames, job: FitJob) -> None:
    short = replace(job.fold.validation, stop=job.fold.validation.start + 1)  # nothing is known one session later
    with pytest.raises(FitError, match="no label to validate with"):
        fit(replace(job, fold=replace(job.fold, validation=short)), frames)


def test_a_baseline_is_no_network(frames: Frames) -> None:
    (job,) = jobs_for(frames, kinds=("ewma",), folds=slice(1))[0]
    with pytest.raises(FitError, match="found a ewma forecaster where a network was expected"):
        fit_network(job, frames)
    with pytest.raises(FitError, match="found a ewma forecaster where a network was expected"):
        load_network(fit(job, frames))


def test_weights_of_another_shape_are_refused(frames: Frames, job: FitJob) -> None:
    fitted = fit(job, frames)
    with pytest.raises(FitError, match="do not fit their specification"):
        load_network(replace(fitted, forecaster=RecurrentSpec(hidden_size=7)))


LIVE = TrainingSpec(fewest_steps=60, most_steps=60, batch_chunks=16, chunk_sessions=160, burn_in_sessions=40)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_live_and_backtest_agree(cell: str, tmp_path: Path) -> None:
    """The last origin alone reads 160 sessions; as the end of a long pass it has read many more."""
    experiment = changed(TINY, training=LIVE, network=RecurrentSpec(cell=cell, hidden_size=16))
    frames = frames_from(random_market(700, 3), experiment)
    job, last = jobs_for(frames, experiment)[0][0], len(frames.sessions)
    fitted = fit(job, frames)
    assert fitted.lookback_sessions == 160
    alone = quantiles(fitted, frames, slice(last - 1, last))
    for start in (job.fold.test.start, last - 100, last - 7):
        passed = quantiles(fitted, frames, slice(start, last))
        assert np.nanmax(np.abs(passed[:, -1] - alone[:, 0])) <= 1e-6
    blind = quantiles(replace(fitted, lookback_sessions=2), frames, slice(last - 1, last))
    assert np.nanmax(np.abs(blind - alone)) > 1e-6  # what is read before does matter


def test_the_number_of_threads_changes_no_bit_of_a_forecast() -> None:
    # The default size on long series: a small network gives the same bits anyway.
    frames = frames_from(random_market(1500, 8))
    job = jobs_for(frames)[0][0]
    brief = TrainingSpec(fewest_steps=2, most_steps=2)
    fitted = fit(replace(job, forecaster=RecurrentSpec(), training=brief), frames)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            results.append(quantiles(fitted, frames, slice(300, len(frames.sessions))))
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*results, equal_nan=True)
