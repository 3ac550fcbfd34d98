"""Gradient steps: the first loss by a plain loop, segments of a truncated chunk, optimizers, schedules and weights."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from pipeline.dataset.frames import Frames
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasters.recurrent import gradient_steps
from pipeline.forecasters.recurrent.cells import detached
from pipeline.forecasters.recurrent.gradient_steps import steps, steps_for
from pipeline.forecasters.recurrent.network import RecurrentNetwork
from pipeline.forecasters.recurrent.specification import RecurrentSpec, supervised_from
from pipeline.forecasters.recurrent.supervision import Chunk, Chunks, Supervision
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.training.jobs import FitJob
from tests.forecasters.recurrent.builders import network_for, supervised, young_and_gone
from tests.panels import TINY_TRAINING


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def training_of(**values: Any) -> TrainingSpec:
    return TrainingSpec.model_validate({**TINY_TRAINING.model_dump(), **values})


def first_loss(network: RecurrentNetwork, data: Supervision, training: TrainingSpec, seed: int = 2) -> float:
    return float(next(steps(network, data, training, 8, seeded(seed)))[1])


# --- The loss of a batch ---


def slow_labels(
    network: RecurrentNetwork, data: Supervision, training: TrainingSpec, chunk: Chunk
) -> Iterator[tuple[float, float]]:
    """Chunk by chunk, without padding: each supervised label's mean pinball, and its weight."""
    for b in range(len(chunk.ticker)):
        i = int(chunk.ticker[b])
        days = [int(s) for s, there in zip(chunk.session[b], chunk.inside[b], strict=True) if there]
        raw = network(data.inputs[i : i + 1, days[0] : days[-1] + 1])[0]
        quantiles = network.head.inverse(raw, torch.tensor(LEVELS), {})[0]
        for k, t in enumerate(days):
            for h in range(data.target.shape[2]):
                last_alone = network.spec.shape == "many_to_one" and k != training.chunk_sessions - 1
                if k < training.burn_in_sessions or last_alone or not data.known[i, t, h]:
                    continue
                y = float(data.target[i, t, h])
                pairs = [(float(v), level) for v, level in zip(quantiles[k, h], LEVELS, strict=True)]
                yield sum(max(a * (y - v), (a - 1) * (y - v)) for v, a in pairs) / len(LEVELS), float(data.weight[i, t])


@pytest.mark.parametrize("power", [0.0, 1.5])
@pytest.mark.parametrize("shape", ["many_to_many", "many_to_one", "one_to_one"])
def test_the_first_loss_is_that_of_a_plain_loop(shape: str, power: float) -> None:
    """Burn-in and unknown labels are left out, many to one all but the last session; every label has its weight."""
    job, frames = young_and_gone(shape=shape)
    data, training = supervised(job, frames, power), training_of(batch_chunks=64, chunk_sessions=120)
    network = network_for(job, frames)
    chunk = Chunks(data, training, supervised_from(network.spec, training)).draw(seeded(2))
    with torch.no_grad():
        losses = list(slow_labels(network, data, training, chunk))
    assert shape == "many_to_one" or not chunk.inside.all()  # the case with padding is there
    assert shape != "many_to_one" or len(losses) <= 64 * 2
    expected = sum(loss * weight for loss, weight in losses) / sum(weight for _, weight in losses)
    assert first_loss(network, data, training) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("ahead", ["direct", "decoder"])
def test_a_network_of_one_horizon_is_supervised_at_that_one_alone(ahead: str) -> None:
    other, frames = young_and_gone(horizon_mode=ahead)
    job = replace(other, forecaster=RecurrentSpec(hidden_size=6, dropout=0.0, horizon_mode="recursive"))
    data, training = supervised(job, frames), training_of(batch_chunks=64)
    expected = first_loss(network_for(job, frames), data, training)
    target, known = data.target.clone(), data.known.clone()
    target[..., 1], known[..., 1] = 1e6, True
    spoilt = Supervision(data.inputs, target, known, data.weight, data.first)
    assert first_loss(network_for(job, frames), spoilt, training) == expected
    assert first_loss(network_for(other, frames), spoilt, training) > 100


# --- Truncated backpropagation through time ---


def slow_truncated(
    network: RecurrentNetwork, data: Supervision, training: TrainingSpec, count: int, length: int
) -> list[float]:
    """A plain loop of stochastic gradient descent: a step per segment, with the state cut off before the next."""
    generator, losses = seeded(2), []
    chunks = Chunks(data, training, training.burn_in_sessions)
    for _ in range(count):
        chunk, segments = chunks.draw(generator), []
        states = None
        for start in range(0, training.chunk_sessions, length):
            part = slice(start, min(start + length, training.chunk_sessions))
            ticker, session = chunk.ticker, chunk.session[:, part]
            raw, states = network(data.inputs[ticker, session], None, states)
            states = [detached(state) for state in states]
            place = torch.arange(part.start, part.stop)
            counted = data.known[ticker, session] & (chunk.inside[:, part] & (place >= training.burn_in_sessions))[
                ..., None
            ]  # fmt: skip
            if not counted.any():
                continue
            loss = network.head.loss(raw, data.target[ticker, session])[counted].mean()
            segments.append(float(loss.detach()))
            network.zero_grad()
            loss.backward()
            with torch.no_grad():
                for parameter in network.parameters():
                    if parameter.grad is not None:  # a concat cell's state is read one step later
                        parameter.sub_(training.learning_rate * parameter.grad)
        losses.append(sum(segments) / len(segments))
    return losses


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "elman", "concat"])
@pytest.mark.parametrize("length", [1, 7, 60])
def test_truncation_is_a_loop_of_segments_with_a_detached_state(cell: str, length: int) -> None:
    job, frames = young_and_gone(cell=cell)
    data = supervised(job, frames)
    plain = {"optimizer": "sgd", "schedule": "constant", "weight_decay": 0.0, "learning_rate": 0.05}
    training = training_of(truncate_sessions=length, gradient_clip=1e9, **plain)
    slow, quick = network_for(job, frames), network_for(job, frames)
    before = [value.detach().clone() for value in quick.parameters()]
    expected = slow_truncated(slow, data, training, 2, length)
    found = [float(loss) for _, loss in steps(quick, data, training, 2, seeded(2))]
    assert found == pytest.approx(expected, abs=1e-6)
    for actual, other in zip(quick.parameters(), slow.parameters(), strict=True):
        torch.testing.assert_close(actual, other, atol=1e-6, rtol=0)
    moved = [not torch.equal(actual, old) for actual, old in zip(quick.parameters(), before, strict=True)]
    assert all(moved) or (cell, length) == ("concat", 1)


def test_a_truncated_step_does_not_see_beyond_its_segment() -> None:
    """Its gradient with respect to what is read: zero before the segment, unlike that of a whole chunk."""
    job, frames = young_and_gone(cell="rnn")
    data, network = supervised(job, frames), network_for(job, frames)
    slopes = {}
    for length in (60, 5):
        inputs = data.inputs.clone().requires_grad_()
        own = Supervision(inputs, data.target, data.known, data.weight, data.first)
        training = training_of(truncate_sessions=length, batch_chunks=1, burn_in_sessions=58, learning_rate=1e-12)
        chunk = Chunks(own, training, 58).draw(seeded(2))
        list(steps(network, own, training, 1, seeded(2)))
        assert inputs.grad is not None
        seen = inputs.grad[chunk.ticker[0, 0], chunk.session[0]].abs().sum(dim=1)
        slopes[length] = seen
    assert (slopes[60][50:] > 0).all()
    assert (slopes[5][:55] == 0).all()
    assert (slopes[5][55:] > 0).all()


# --- Optimizers and schedules ---


def learning_rates(training: TrainingSpec, budget: int, shape: str = "many_to_many") -> list[float]:
    """The sizes of the updates of a plain gradient step: the learning rate, once the gradient is clipped to one."""
    job, frames = young_and_gone(shape=shape, cell="rnn")
    data, network = supervised(job, frames), network_for(job, frames)
    sizes, last = [], torch.nn.utils.parameters_to_vector(network.parameters()).detach().clone()
    for _ in steps(network, data, training, budget, seeded(2)):
        now = torch.nn.utils.parameters_to_vector(network.parameters()).detach().clone()
        sizes.append(float((now - last).norm()))
        last = now
    return sizes


SGD = {"optimizer": "sgd", "weight_decay": 0.0, "gradient_clip": 1e-4, "learning_rate": 1.0}


def test_a_constant_schedule_keeps_its_learning_rate() -> None:
    sizes = learning_rates(training_of(schedule="constant", **SGD), 12)
    assert sizes == pytest.approx([1e-4] * 12, rel=1e-2)


def test_a_one_cycle_schedule_rises_to_its_rate_and_falls_to_nothing() -> None:
    sizes = learning_rates(training_of(schedule="one_cycle", **SGD), 40)
    peak = sizes.index(max(sizes))
    assert max(sizes) >= 0.9e-4  # torch's schedule gives momentum as well
    assert 0.2 * 40 <= peak <= 0.45 * 40
    assert sizes[0] == pytest.approx(1e-4 / 25, rel=0.05)
    assert sizes[-1] < 1e-6


@pytest.mark.parametrize(("shape", "length"), [("many_to_many", 7), ("many_to_one", 10), ("many_to_many", 3)])
def test_a_one_cycle_schedule_ends_with_the_last_segment_that_is_supervised(shape: str, length: int) -> None:
    """Segments within the burn-in take no step; a schedule that counted them would never come down."""
    training = training_of(schedule="one_cycle", truncate_sessions=length, batch_chunks=32, **SGD)
    sizes = learning_rates(training, 20, shape)
    assert sizes[-1] < max(sizes) / 20


@pytest.mark.parametrize(
    ("name", "optimizer"), [("adamw", torch.optim.AdamW), ("adam", torch.optim.Adam), ("sgd", torch.optim.SGD)]
)
def test_the_optimizer_is_the_one_that_is_named(name: str, optimizer: Any) -> None:
    job, frames = young_and_gone()
    data = supervised(job, frames)
    training = training_of(optimizer=name, schedule="constant", weight_decay=0.3, learning_rate=0.01, gradient_clip=0.2)
    found, expected = network_for(job, frames), network_for(job, frames)
    list(steps(found, data, training, 3, seeded(2)))
    by_hand = optimizer(expected.parameters(), lr=0.01, weight_decay=0.3)
    generator, chunks = seeded(2), Chunks(data, training, training.burn_in_sessions)
    for _ in range(3):
        by_hand.zero_grad()
        batch_loss(expected, data, chunks.draw(generator), training).backward()
        size = math.sqrt(sum(float((p.grad**2).sum()) for p in expected.parameters()))
        for parameter in expected.parameters():
            parameter.grad *= min(1.0, 0.2 / size)
        by_hand.step()
    for actual, other in zip(found.parameters(), expected.parameters(), strict=True):
        torch.testing.assert_close(actual, other, atol=1e-6, rtol=1e-5)


def batch_loss(network: RecurrentNetwork, data: Supervision, chunk: Chunk, training: TrainingSpec) -> Tensor:
    counted = data.known[chunk.ticker, chunk.session] & chunk.inside[..., None]
    counted[:, : training.burn_in_sessions] = False
    raw = network(data.inputs[chunk.ticker, chunk.session])[0]
    return network.head.loss(raw, data.target[chunk.ticker, chunk.session])[counted].mean()


# --- Budget, names of tickers, generator ---


@pytest.mark.parametrize(("fewest", "most", "epochs"), [(1, 10_000, 1), (1, 10_000, 7), (50, 60, 1), (1, 3, 50)])
def test_the_number_of_steps_is_epochs_over_the_supervised_sessions_within_bounds(
    frames: Frames, job: FitJob, fewest: int, most: int, epochs: int
) -> None:
    data = supervised(job, frames)
    training = training_of(min_steps=fewest, max_steps=most, epochs=epochs)
    known = data.known.numpy()
    sessions = sum(bool(known[i, t].any()) for i in range(known.shape[0]) for t in range(known.shape[1]))
    exact = epochs * sessions / (4 * 50)
    found = steps_for(data, training)
    assert fewest <= found <= most
    assert found in (fewest, most) or exact <= found < exact + 1


def test_a_tenth_of_the_chunks_is_shown_without_its_name() -> None:
    job, frames = young_and_gone(embedding_size=2)
    network, ticker = network_for(job, frames), torch.arange(5)[:, None].repeat(4000, 1)
    names = gradient_steps._names(network, ticker, seeded(0))
    assert names is not None
    assert (names == 0).float().mean().item() == pytest.approx(0.1, abs=0.01)
    shown = names != 0
    assert torch.equal(names[shown], ticker[:, 0][shown] + 1)
    plain, _ = young_and_gone()
    assert gradient_steps._names(network_for(plain, frames), ticker, seeded(0)) is None


def test_rows_of_the_embedding_learn_from_their_own_ticker_and_row_zero_from_all() -> None:
    job, frames = young_and_gone(embedding_size=2)
    data, network = supervised(job, frames), network_for(job, frames)
    assert network.embedding is not None
    before = network.embedding.weight.detach().clone()
    known = data.known.clone()
    known[3:] = False  # two of five tickers are never drawn
    only = Supervision(data.inputs, data.target, known, data.weight, data.first)
    training = training_of(optimizer="sgd", weight_decay=0.0, batch_chunks=32)
    list(steps(network, only, training, 6, seeded(1)))
    moved = (network.embedding.weight != before).any(dim=1)
    assert moved.tolist() == [True, True, True, True, False, False]


def test_same_generator_same_steps() -> None:
    job, frames = young_and_gone(dropout=0.3, embedding_size=2)
    data = supervised(job, frames)
    runs = []
    for global_seed, seed in ((0, 1), (9, 1), (0, 2)):
        torch.manual_seed(global_seed)
        network = network_for(job, frames)
        losses = [float(loss) for _, loss in steps(network, data, job.training, 4, seeded(seed))]
        runs.append((losses, torch.nn.utils.parameters_to_vector(network.parameters()).detach().numpy().tobytes()))
    assert runs[0] == runs[1]
    assert runs[0][0] != runs[2][0]
