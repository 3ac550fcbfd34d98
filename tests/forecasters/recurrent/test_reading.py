"""Reading: what each shape reads of a series, names of tickers, live against backtest, and refused weights."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from pipeline.dataset.frames import Frames
from pipeline.dataset.scaling import Scaler, fit_scaler
from pipeline.errors import FitError
from pipeline.forecasters.forecaster import LEVELS, Fitted
from pipeline.forecasters.recurrent.network import new_network
from pipeline.forecasters.recurrent.reading import (
    Reader,
    fit_input_scaler,
    inputs_of,
    read_quantiles,
    read_raw,
    reader_of,
)
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.training.fits import fit, quantiles
from pipeline.training.jobs import FitJob
from tests.forecasters.recurrent.builders import first_job, largest_gap, network_for, seen_by
from tests.panels import TINY, changed, frames_from, jobs_for, random_market

CELLS = ("lstm", "gru", "rnn", "rnncell", "concat", "elman")


@pytest.fixture(scope="module")
def fitted(frames: Frames, job: FitJob) -> Fitted:
    return fit(job, frames)


def reader_for(frames: Frames, lookback: int, seed: int = 0, **values: Any) -> tuple[Reader, Frames]:
    """A network as it is drawn, with weights large enough that what it reads matters."""
    experiment = changed(TINY, network=RecurrentSpec.model_validate({"hidden_size": 6, **values}))
    job = first_job(frames, experiment)
    job_frames = frames.with_features(job.features)
    network = network_for(job, frames, seed)
    with torch.no_grad():
        network.linear.weight.mul_(10.0)
    scaler = fit_scaler(seen_by(job, frames), job.fold.train)
    return Reader(network.eval(), scaler, lookback, job.tickers), job_frames


def moved_at(reader: Reader, frames: Frames, origins: slice, session: int) -> np.ndarray:
    """True [origin] where another row of the first ticker at a session moves its forecast."""
    features = np.array(frames.features)
    features[0, session] += 1.0
    before, after = (
        read_raw(reader, some_frames, origins) for some_frames in (frames, replace(frames, features=features))
    )
    assert torch.equal(after[1:].nan_to_num(), before[1:].nan_to_num())
    return (after[0] != before[0]).flatten(1).any(dim=1).numpy()


# --- Shapes ---


@pytest.mark.parametrize(
    "values", [{"shape": "one_to_one"}, {"shape": "one_to_many", "horizon_mode": "decoder"}], ids=str
)
@pytest.mark.parametrize("cell", CELLS)
def test_one_to_one_and_one_to_many_read_the_origins_session_alone(
    frames: Frames, cell: str, values: dict[str, Any]
) -> None:
    reader, job_frames = reader_for(frames, 160, cell=cell, **values)
    moved = moved_at(reader, job_frames, slice(300, 340), 320)
    assert np.flatnonzero(moved).tolist() == [20]


@pytest.mark.parametrize("cell", CELLS)
def test_many_to_one_reads_exactly_its_window(frames: Frames, cell: str) -> None:
    """The first session of the window moves a forecast, the one before it does not."""
    window = 12
    reader, job_frames = reader_for(frames, window, cell=cell, shape="many_to_one")
    moved = moved_at(reader, job_frames, slice(300, 360), 320)
    assert np.flatnonzero(moved).tolist() == list(range(20, 20 + window))


@pytest.mark.parametrize("cell", CELLS)
def test_many_to_one_reads_every_window_from_a_zero_state(frames: Frames, cell: str) -> None:
    """Window by window, one ticker after the other; a ticker younger than the window shows its first session again."""
    reader, job_frames = reader_for(frames, 20, cell=cell, shape="many_to_one")
    first = int(job_frames.first[3])
    origins = slice(first - 5, first + 25)
    found = read_raw(reader, job_frames, origins)
    scaled = reader.scaler.apply(np.asarray(job_frames.features))
    with torch.no_grad():
        for i in range(4):
            for t in range(max(int(job_frames.first[i]), origins.start), origins.stop):
                rows = [max(s, int(job_frames.first[i])) for s in range(t - 19, t + 1)]
                expected = reader.network(torch.from_numpy(scaled[i : i + 1, rows]))[0][0, -1]
                torch.testing.assert_close(found[i, t - origins.start], expected, atol=1e-5, rtol=1e-5)


def test_many_to_many_reads_all_since_its_lookback(frames: Frames) -> None:
    reader, job_frames = reader_for(frames, 8, cell="rnn")
    assert not moved_at(reader, job_frames, slice(300, 305), 291).any()
    assert moved_at(reader, job_frames, slice(300, 305), 292)[0]


def test_a_late_ticker_is_read_from_its_first_session_in_a_zero_state(frames: Frames) -> None:
    reader, job_frames = reader_for(frames, 40)
    first = int(job_frames.first[3])
    assert first > 200
    scaled = torch.from_numpy(reader.scaler.apply(job_frames.features[3:4, first : first + 30]))
    with torch.no_grad():
        expected = reader.network(scaled)[0][0]
    found = read_raw(reader, job_frames, slice(first - 10, first + 30))[3]
    torch.testing.assert_close(found[10:], expected, atol=1e-5, rtol=1e-5)
    assert found[:10].isnan().all()


@pytest.mark.parametrize("shape", ["many_to_many", "many_to_one", "one_to_one"])
def test_what_comes_after_an_origin_changes_none_of_its_bits(frames: Frames, shape: str) -> None:
    reader, job_frames = reader_for(frames, 40, shape=shape)
    later = np.arange(len(job_frames.sessions)) >= 330
    spoilt = replace(job_frames, features=np.where(later[:, None], np.float32(9.0), job_frames.features))
    before, after = (read_raw(reader, some, slice(300, 360)) for some in (job_frames, spoilt))
    assert torch.equal(before[:3, :30], after[:3, :30])
    assert not torch.equal(before[:3, 30:], after[:3, 30:])


@pytest.mark.parametrize("shape", ["many_to_many", "many_to_one", "one_to_one"])
def test_an_origin_before_the_first_session_of_a_ticker_has_no_forecast_that_is_used(shape: str) -> None:
    frames = frames_from(random_market(500, 4))
    experiment = changed(TINY, network=RecurrentSpec(hidden_size=3, shape=shape))
    part = slice(int(frames.first[3]) - 10, int(frames.first[3]) + 40)
    forecast = quantiles(fit(first_job(frames, experiment), frames), frames, part)
    np.testing.assert_array_equal(np.isfinite(forecast).all(axis=(2, 3)), frames.usable[:, part])


# --- What is known in advance ---


def test_what_is_known_of_the_target_sessions_stands_behind_the_features_horizon_by_horizon() -> None:
    experiment = changed(TINY, calendar_covariates=("day_of_week", "month_end"), horizons=3)
    frames = frames_from(random_market(500, 3), experiment)
    job = first_job(frames, experiment)
    own, part = frames.with_features(job.features), job.fold.train
    scaler = fit_input_scaler(own, part)
    found = inputs_of(own, scaler, slice(300, 305))
    names, size = own.known_future_names, len(job.features)
    assert found.shape == (3, 5, size + 3 * len(names))
    plain = fit_scaler(own, part).apply(own.features[:, 300:305])
    np.testing.assert_array_equal(found[..., :size], plain)
    usable = own.usable[:, part.start : part.stop].any(axis=0)
    for k in range(len(names)):
        rows = own.known_future[part.start : part.stop][usable][:, :, k]
        for h in range(3):
            expected = (own.known_future[300:305, h, k] - rows.mean()) / rows.std()
            for i in range(3):
                np.testing.assert_allclose(found[i, :, size + h * len(names) + k], expected, atol=1e-4)


def test_a_decoder_reads_its_target_sessions() -> None:
    """Another calendar ahead of an origin moves the horizons of one to many; at a baseline it moves nothing."""
    network = RecurrentSpec(hidden_size=6, shape="one_to_many", horizon_mode="decoder")
    experiment = changed(TINY, calendar_covariates=("day_of_week", "month_end"), network=network)
    frames = frames_from(random_market(500, 3), experiment)
    fitted = fit(first_job(frames, experiment), frames)
    known_future = np.array(frames.known_future)
    known_future[400] += 1.0
    origins = slice(395, 405)
    before, after = (
        quantiles(fitted, some_frames, origins) for some_frames in (frames, replace(frames, known_future=known_future))
    )
    moved = (before != after).any(axis=(0, 2, 3))
    assert np.flatnonzero(moved).tolist() == [5]


# --- Names of tickers ---


def test_names_are_rows_of_the_embedding_in_the_order_of_training() -> None:
    scaler = Scaler(np.zeros(1, np.float32), np.ones(1, np.float32))
    reader = Reader(new_network(RecurrentSpec(), 1, 1, torch.Generator()), scaler, 1, ("B", "A"))
    assert reader.names(["A", "Z", "B"]).tolist() == [2, 0, 1]


@pytest.mark.parametrize("shape", ["many_to_many", "many_to_one", "one_to_one"])
def test_a_ticker_reads_its_own_row_and_an_unknown_one_row_zero(frames: Frames, shape: str) -> None:
    experiment = changed(TINY, network=RecurrentSpec(hidden_size=6, embedding_size=2, shape=shape))
    job = first_job(frames, experiment)
    job = replace(job, tickers=("T0", "T2"), data_digest="two of four")
    fitted, origins = fit(job, frames), slice(380, 400)
    assert fitted.arrays["network.embedding.weight"].shape == (3, 2)
    before = quantiles(fitted, frames, origins)
    assert np.isfinite(before[frames.usable[:, origins]]).all()
    for row, expected in ((0, ["T1", "T3"]), (1, ["T0"]), (2, ["T2"])):
        weight = np.array(fitted.arrays["network.embedding.weight"])
        weight[row] += 3.0
        other = replace(fitted, arrays={**fitted.arrays, "network.embedding.weight": weight})
        moved = (quantiles(other, frames, origins) != before)[:, :, 0, 3].all(axis=1)
        assert [frames.tickers[i] for i in np.flatnonzero(moved)] == expected
    swapped = frames.of(("T3", "T2", "T1", "T0"))  # by name, not by place
    np.testing.assert_allclose(quantiles(fitted, swapped, origins), before[::-1], atol=1e-6)


# --- Every head through one way ---


@pytest.mark.parametrize("head", ["quantiles", "point", "student_t", "mixture", "direction"])
def test_every_head_gives_a_table_of_quantiles(frames: Frames, head: str) -> None:
    """Of one shape, finite where the origin is usable and only there, and without crossing."""
    experiment = changed(TINY, network=RecurrentSpec(hidden_size=6, head={"kind": head}))
    fitted = fit(first_job(frames, experiment), frames)
    part = slice(250, 500)
    forecast = quantiles(fitted, frames, part)
    assert forecast.shape == (4, 250, 2, len(LEVELS))
    assert forecast.dtype == np.float32
    np.testing.assert_array_equal(np.isfinite(forecast).all(axis=(2, 3)), frames.usable[:, part])
    known = forecast[frames.usable[:, part]]
    assert (np.diff(known, axis=-1) >= 0).all()
    assert (known[..., -1] > known[..., 0]).all()  # every head has a width


@pytest.mark.parametrize("head", ["point", "direction"])
def test_the_bands_come_from_the_validation_range(frames: Frames, head: str) -> None:
    experiment = changed(TINY, network=RecurrentSpec(hidden_size=6, head={"kind": head}))
    job = first_job(frames, experiment)
    fitted, seen, part = fit(job, frames), seen_by(job, frames), job.fold.validation
    raw = read_raw(reader_of(fitted), seen, slice(part.start, part.stop))
    h = 1
    outcomes = []
    for i in range(len(seen.tickers)):
        for t in range(part.start, part.stop - h - 1):
            if seen.usable[i, t] and np.isfinite(seen.future_return[i, t, h]):
                scaled = float(seen.future_return[i, t, h]) / (float(seen.volatility[i, t]) * 2**0.5)
                point = float(raw[i, t - part.start, h, 0]) if head == "point" else 0.0
                outcomes.append(scaled - point)
    outcome_array = np.array(outcomes)
    name = "spread.residual" if head == "point" else "spread.up"
    expected = outcome_array if head == "point" else outcome_array[outcome_array > 0.25]
    np.testing.assert_allclose(fitted.arrays[name][h], np.quantile(expected, np.linspace(0, 1, 201)), atol=1e-4)


# --- Weights, live and backtest ---


def test_a_reader_is_what_was_fitted(frames: Frames, fitted: Fitted, job: FitJob) -> None:
    reader = reader_of(fitted)
    assert (reader.lookback_sessions, reader.tickers) == (160, job.tickers)
    for name, value in reader.network.state_dict().items():
        np.testing.assert_array_equal(value.numpy(), fitted.arrays[f"network.{name}"])
    assert isinstance(reader.scaler, Scaler)
    np.testing.assert_array_equal(reader.scaler.mean, fitted.arrays["scaler.mean"])
    raw = read_raw(reader, frames.with_features(fitted.features), slice(300, 310))
    scaled = read_quantiles(fitted, frames.with_features(fitted.features), slice(300, 310))
    np.testing.assert_allclose(scaled, reader.network.head.inverse(raw, torch.tensor(LEVELS), {}).numpy())


def test_a_baseline_is_no_network(frames: Frames) -> None:
    (job,) = jobs_for(frames, kinds=("ewma",), folds=slice(1))[0]
    with pytest.raises(FitError, match="found a ewma forecaster where a network was expected"):
        reader_of(fit(job, frames))


@pytest.mark.parametrize(
    "other", [{"hidden_size": 7}, {"cell": "gru"}, {"num_layers": 2}, {"bias": False}, {"embedding_size": 2}], ids=str
)
def test_weights_of_another_network_are_refused(fitted: Fitted, other: dict[str, Any]) -> None:
    spec = RecurrentSpec.model_validate({"hidden_size": 6, **other})
    with pytest.raises(FitError, match="do not fit their specification"):
        reader_of(replace(fitted, forecaster=spec))


LIVE = TrainingSpec(min_steps=60, max_steps=60, batch_chunks=16, chunk_sessions=160, burn_in_sessions=40)


@pytest.mark.parametrize(
    ("cell", "shape"),
    [
        ("lstm", "many_to_many"),
        ("gru", "many_to_many"),
        ("rnn", "many_to_many"),
        ("lstm", "many_to_one"),
        ("lstm", "one_to_one"),
    ],
)
def test_live_and_backtest_agree(cell: str, shape: str) -> None:
    """The last origin alone reads 160 sessions; as the end of a long pass it has read many more."""
    training = LIVE if shape != "many_to_one" else LIVE.model_copy(update={"min_steps": 10, "max_steps": 10})
    network = RecurrentSpec.model_validate({"cell": cell, "shape": shape, "hidden_size": 16})
    experiment = changed(TINY, training=training, network=network)
    frames = frames_from(random_market(700, 3), experiment)
    job, last = first_job(frames, experiment), len(frames.sessions)
    fitted = fit(job, frames)
    assert fitted.lookback_sessions == 160
    alone = quantiles(fitted, frames, slice(last - 1, last))
    for start in (job.fold.test.start, last - 100, last - 7):
        passed = quantiles(fitted, frames, slice(start, last))
        assert largest_gap(passed[:, -1], alone[:, 0]) <= 1e-6
    blind = quantiles(replace(fitted, lookback_sessions=2), frames, slice(last - 1, last))
    assert (largest_gap(blind, alone) > 1e-6) == (shape != "one_to_one")  # what is read before does matter


def test_the_number_of_threads_changes_no_bit_of_a_forecast() -> None:
    # The default size on long series: a small network gives the same bits anyway.
    frames = frames_from(random_market(1500, 8))
    job = first_job(frames)
    brief = TrainingSpec(min_steps=2, max_steps=2)
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
