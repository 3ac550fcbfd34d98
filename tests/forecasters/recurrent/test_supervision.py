"""What a network is supervised with: known labels alone, weighted, in chunks drawn fairly; nothing else is read."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.dataset.folds import FoldSpec
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask
from pipeline.dataset.scaling import fit_scaler
from pipeline.errors import FitError
from pipeline.experiment import Experiment
from pipeline.forecasters.recurrent.fitting import train_network, validation_of
from pipeline.forecasters.recurrent.reading import Reader
from pipeline.forecasters.recurrent.specification import RecurrentSpec, lookback_of, supervised_from
from pipeline.forecasters.recurrent.supervision import Chunks, Supervision, supervision
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.training.fits import fit, quantiles
from pipeline.training.jobs import FitJob
from tests.forecasters.recurrent.builders import data_of, first_job, network_for, seen_by, supervised, young_and_gone
from tests.panels import TINY, TINY_TRAINING, changed, frames_from, jobs_for, random_rows


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_only_labels_known_before_the_training_ends_are_supervised(frames: Frames, job: FitJob) -> None:
    seen, part = seen_by(job, frames), job.fold.train
    data = supervised(job, frames)
    assert data.inputs.shape[:2] == (len(seen.tickers), part.stop)
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


@pytest.mark.parametrize("power", [0.0, 1.0, 1.7])
def test_an_origin_weighs_its_volatility_to_a_power(frames: Frames, job: FitJob, power: float) -> None:
    """One on average over the usable origins of the training range."""
    data, seen, part = supervised(job, frames, power), seen_by(job, frames), job.fold.train
    weights = [
        (i, t, float(seen.volatility[i, t]) ** power)
        for i in range(len(seen.tickers))
        for t in range(part.start, part.stop)
        if seen.usable[i, t]
    ]
    mean = sum(weight for _, _, weight in weights) / len(weights)
    for i, t, weight in weights:
        assert float(data.weight[i, t, 0]) == pytest.approx(weight / mean, rel=1e-4)
    assert torch.isfinite(data.weight).all()


@pytest.mark.parametrize(
    ("shape", "begin", "lookback"), [("many_to_many", 10, 160), ("one_to_one", 10, 160), ("many_to_one", 59, 60)]
)
def test_the_shape_says_where_a_chunk_is_supervised_and_what_a_forecast_reads(
    shape: Any, begin: int, lookback: int
) -> None:
    spec = RecurrentSpec(shape=shape)
    assert supervised_from(spec, TINY_TRAINING) == begin
    assert lookback_of(spec, TINY_TRAINING) == lookback


# --- Chunks ---


def test_chunks_lie_within_the_series_and_start_anywhere_with_equal_chance() -> None:
    job, frames = young_and_gone()
    seen, data = seen_by(job, frames), supervised(job, frames)
    training = job.training.model_copy(update={"batch_chunks": 20_000})
    chunk = Chunks(data, training, 10).draw(seeded(1))
    assert ((chunk.session[:, 1:] - chunk.session[:, :-1] == 1) | ~chunk.inside[:, 1:]).all()
    starts = {i: chunk.session[chunk.ticker[:, 0] == i, 0].numpy() for i in range(len(seen.tickers))}
    for i, ticker_starts in starts.items():
        assert ticker_starts.min() >= seen.first[i]
        assert ticker_starts.max() < 250
    assert seen.tickers[1] == "T0"
    counts = np.bincount(starts[1])[starts[1].min() :]
    assert (starts[1].min(), len(counts)) == (seen.first[1], 250 - 60 - seen.first[1] + 1)
    expected = counts.mean()
    assert ((counts - expected) ** 2 / expected).sum() == pytest.approx(len(counts), rel=0.3)  # chi squared


@pytest.mark.parametrize("begin", [10, 59])
def test_every_drawn_chunk_supervises_something(begin: int) -> None:
    """After a burn-in of 10, and at the last session of 60 alone."""
    job, frames = young_and_gone()
    seen, data = seen_by(job, frames), supervised(job, frames)
    data.known[1, :200] = False  # a member of the universe only since then
    data.known[2, 150:] = False  # and one until then
    training = job.training.model_copy(update={"batch_chunks": 5000})
    chunk = Chunks(data, training, begin).draw(seeded(0))
    known = data.known[chunk.ticker, chunk.session].any(dim=2) & chunk.inside
    known[:, :begin] = False
    drawn = set(chunk.ticker[:, 0].tolist())
    empty = {seen.tickers[i]: int((~known.any(dim=1)[chunk.ticker[:, 0] == i]).sum()) for i in drawn}
    assert empty == dict.fromkeys(empty, 0)
    reached = {i for i in range(len(seen.tickers)) if data.known[i, seen.first[i] + begin :].any()}
    assert drawn == reached
    assert {seen.tickers[i] for i in reached} >= {"T0", "T1", "T2", "YOUNG", "GONE"} or begin == 59


def test_labels_that_no_chunk_reaches_are_an_error_in_words() -> None:
    rows = {f"T{k}": random_rows(430, k) for k in range(2)}
    training = TINY_TRAINING.model_copy(update={"chunk_sessions": 200})
    experiment = changed(TINY, network=RecurrentSpec(hidden_size=3, shape="many_to_one"), training=training)
    frames = frames_from(rows, experiment)
    job = first_job(frames, experiment)
    short = replace(job.fold, train=replace(job.fold.train, stop=200))
    with pytest.raises(FitError, match="found none with 199 sessions before it"):
        fit(replace(job, fold=short), frames)


def trained(data: Supervision, job: FitJob, frames: Frames) -> dict[str, torch.Tensor]:
    seen = seen_by(job, frames)
    network = network_for(job, frames, 5)
    reader = Reader(network, fit_scaler(seen, job.fold.train), job.training.lookback_sessions, job.tickers)
    train_network(reader, data, validation_of(data_of(job, frames)), data_of(job, frames), seeded(5))
    return network.state_dict()


def test_what_is_masked_changes_nothing() -> None:
    """Rows before a ticker's first, unknown labels, and what the padding of a chunk would read."""
    job, frames = young_and_gone(dropout=0.2)
    seen, data = seen_by(job, frames), supervised(job, frames)
    inputs, target = data.inputs.clone(), torch.where(data.known, data.target, torch.tensor(1e6))
    for i, first in enumerate(seen.first):
        inputs[i, :first] = 1e3
    expected = trained(data, job, frames)
    found = trained(replace(data, inputs=inputs, target=target), job, frames)
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    inputs[0, 59:] += 0.1  # while rows that are read do matter
    other = trained(replace(data, inputs=inputs), job, frames)
    assert not torch.equal(other["linear.weight"], expected["linear.weight"])


def test_a_young_ticker_among_long_ones_is_trained_on_and_forecast() -> None:
    experiment = Experiment(
        source=TINY.source,
        horizons=2,
        network=TINY.network,
        training=TrainingSpec(min_steps=4, max_steps=4, validation_checks=2, batch_chunks=16),
        folds=FoldSpec(train_end="2023-12-18", valid_end="2023-12-22"),
        seeds=1,
    )
    rows = {f"T{k}": random_rows(400, k) for k in range(3)}
    frames = frames_from({**rows, "YOUNG": random_rows(110, 9)}, experiment)
    (job,), (fold,) = jobs_for(frames, experiment)
    assert frames.usable[3].sum() == 11
    assert "YOUNG" in job.tickers
    seen = seen_by(job, frames)
    data = supervision(seen, fit_scaler(seen, fold.train), fold.train, 0.0, "cpu")
    assert 0 < data.known[3].any(dim=1).sum() <= 11
    many = job.training.model_copy(update={"batch_chunks": 5000})
    chunk = Chunks(data, many, many.burn_in_sessions).draw(seeded(0))
    young = chunk.ticker[:, 0] == 3
    assert young.any()
    known = (data.known[chunk.ticker, chunk.session].any(dim=2) & chunk.inside)[young]
    assert known[:, job.training.burn_in_sessions :].any()
    forecast = quantiles(fit(job, frames), frames, slice(len(frames.sessions) - 15, len(frames.sessions)))
    assert np.isfinite(forecast[3, -11:]).all()
    assert np.isnan(forecast[3, :-11]).all()


def test_no_chunk_is_drawn_without_a_supervised_session(frames: Frames) -> None:
    """Gaps and a membership that ends in between leave starts from which nothing could be learned."""
    job = jobs_for(frames)[0][0]
    gap = replace(frames, usable=frames.usable.copy())
    gap.usable[:, job.fold.train.start + 80 : job.fold.train.start + 160] = False
    training = job.training.model_copy(update={"batch_chunks": 1, "chunk_sessions": 30, "burn_in_sessions": 5})
    data = supervision(gap, fit_scaler(gap, job.fold.train), job.fold.train, 0.0, "cpu")
    for begin in (5, 29):
        chunks, generator = Chunks(data, training, begin), torch.Generator().manual_seed(0)
        for _ in range(600):
            chunk = chunks.draw(generator)
            known = data.known[chunk.ticker, chunk.session] & chunk.inside[..., None]
            assert known[:, begin:].any()
