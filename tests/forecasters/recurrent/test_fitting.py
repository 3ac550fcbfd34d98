"""Training a network: the best weights kept, when it stops, what must not be seen, and what a head switches."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from pipeline.dataset.frames import Frames
from pipeline.dataset.scaling import fit_scaler
from pipeline.errors import FitError
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasters.recurrent.fitting import follow, train_network, validation_loss, validation_of
from pipeline.forecasters.recurrent.gradient_steps import steps
from pipeline.forecasters.recurrent.losses import masked_mean
from pipeline.forecasters.recurrent.reading import Reader, read_raw, reader_of
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasters.training_specification import TrainingSpec
from pipeline.training.fits import fit, quantiles
from pipeline.training.jobs import FitJob
from tests.forecasters.recurrent.builders import (
    data_of,
    first_job,
    network_for,
    same_arrays,
    seen_by,
    supervised,
    young_and_gone,
)
from tests.panels import TINY, changed, frames_from, jobs_for, random_rows

SCHOOLED = TrainingSpec(
    min_steps=40,
    max_steps=40,
    validation_checks=10,
    patience_checks=3,
    batch_chunks=8,
    chunk_sessions=80,
    burn_in_sessions=10,
)
HEADS = ("quantiles", "point", "student_t", "mixture", "direction")


def test_a_ticker_whose_first_session_lies_in_the_validation_range_stops_no_fit() -> None:
    """It has no forecast at the origins before its first; those are not scored, and the loss stays finite."""
    frames = frames_from({**{f"T{k}": random_rows(500, k) for k in range(3)}, "ZNEW": random_rows(285, 9)})
    job = first_job(frames)
    part = job.fold.validation
    assert part.start < frames.first[3] < part.stop
    assert "ZNEW" in job.tickers
    for head in ("quantiles", "point", "direction"):
        spec = RecurrentSpec.model_validate({"hidden_size": 4, "head": {"kind": head}})
        fitted = fit(replace(job, forecaster=spec), frames)
        forecast = quantiles(fitted, frames, slice(part.start, part.stop))
        np.testing.assert_array_equal(np.isfinite(forecast).all(axis=(2, 3)), frames.usable[:, part.start : part.stop])


@pytest.mark.parametrize(
    "network",
    [
        {},
        {"cell": "gru", "embedding_size": 2},
        {"cell": "elman"},
        {"horizon_mode": "decoder"},
        {"shape": "many_to_one"},
    ],
    ids=str,
)
def test_same_job_same_bits_whatever_the_global_generators_say(frames: Frames, network: dict[str, object]) -> None:
    spec = RecurrentSpec.model_validate({"hidden_size": 6, "dropout": 0.2, **network})
    job = first_job(frames, changed(TINY, network=spec))
    fits = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        np.random.seed(seed)  # noqa: NPY002
        fits.append(fit(job, frames))
    assert same_arrays(*fits)
    assert fits[0].checks == fits[1].checks
    assert not same_arrays(fits[0], fit(replace(job, seed=job.seed + 1), frames))


OTHER_THAN_CPU = "cpu:0"
"""The CPU by a name that is not "cpu": the code takes it for another device, where a GPU is not at hand."""


class Watch(TorchDispatchMode):
    """Remembers of every operation within whether it had to be deterministic, and how many threads it had."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, set[bool]] = {}
        self.threads: set[int] = set()

    def __torch_dispatch__(
        self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        self.seen.setdefault(str(func), set()).add(torch.are_deterministic_algorithms_enabled())
        self.threads.add(torch.get_num_threads())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    ("device", "wanted", "within"), [("cpu", True, False), (OTHER_THAN_CPU, True, True), (OTHER_THAN_CPU, False, False)]
)
def test_every_step_of_a_fit_on_another_device_is_deterministic_where_that_is_wanted(
    device: str, wanted: bool, within: bool, frames: Frames, job: FitJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # it would be left behind
    device_job = replace(job, device=device, training=job.training.model_copy(update={"deterministic": wanted}))
    with Watch() as watch:
        fit(device_job, frames)
    trained = {name: flags for name, flags in watch.seen.items() if "backward" in name or "lerp" in name}
    assert len(trained) >= 2, "the loss was differentiated and the weights were averaged"
    assert set.union(*trained.values()) == {within}
    assert not torch.are_deterministic_algorithms_enabled()


# --- A head switches the loss and the distribution, and nothing else ---


def test_networks_that_differ_in_their_head_draw_the_same_chunks_and_take_the_same_steps() -> None:
    """The rows of the embedding that a step moves are the tickers of its chunks."""
    frames = frames_from({f"T{k:02}": random_rows(480, k) for k in range(16)})
    plain = {
        "min_steps": 1,
        "max_steps": 1,
        "validation_checks": 1,
        "weight_decay": 0.0,
        "optimizer": "sgd",
        "schedule": "constant",
    }
    seen: dict[str, list[object]] = {head: [] for head in HEADS}
    for head in HEADS:
        network = RecurrentSpec.model_validate({"hidden_size": 4, "embedding_size": 2, "head": {"kind": head}})
        job = first_job(frames, changed(TINY, network=network))
        for seed in range(2):
            started, moved = (
                fit(replace(job, seed=seed, training=TINY.training.model_copy(update={**plain, "learning_rate": rate})),
                    frames)
                for rate in (1e-30, 1.0)
            )  # fmt: skip
            rows = [one.arrays["network.embedding.weight"] for one in (started, moved)]
            drawn = np.flatnonzero((rows[0] != rows[1]).any(axis=1)).tolist()
            assert 1 <= len(drawn) <= 4
            others = [started.arrays[name].tobytes() for name in sorted(started.arrays)
                      if not name.startswith(("network.linear", "spread"))]  # fmt: skip
            table = quantiles(moved, frames, slice(300, 310))
            seen[head].append((drawn, others, [check.step for check in moved.checks], table.shape))
    assert len({str(drawn) for drawn, *_ in seen["point"]}) == 2  # type: ignore[misc]
    for head in HEADS:
        assert seen[head] == seen["quantiles"], head


def test_the_number_of_checks_and_steps_is_that_of_any_head(frames: Frames) -> None:
    steps_seen = set()
    for head in HEADS:
        network = RecurrentSpec.model_validate({"hidden_size": 4, "head": {"kind": head}})
        patient = SCHOOLED.model_copy(update={"patience_checks": 99})
        job = first_job(frames, changed(TINY, network=network, training=patient))
        steps_seen.add(tuple(check.step for check in fit(job, frames).checks))
    assert steps_seen == {tuple(range(4, 41, 4))}


# --- What must not be seen ---


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
    """Validation decides which weights are kept, never what the gradient sees: its first check is the same."""
    part = slice(job.fold.validation.start, job.fold.validation.stop)
    other = np.array(frames.future_return)
    other[:, part] *= -3.0
    first, second = fit(job, frames), fit(job, replace(frames, future_return=other))
    shared = min(len(first.checks), len(second.checks))
    assert [c.train_loss for c in first.checks[:shared]] == [c.train_loss for c in second.checks[:shared]]
    assert first.checks[0].valid_loss != second.checks[0].valid_loss


# --- Which weights are kept, and when training stops ---


def test_the_best_weights_are_kept(frames: Frames) -> None:
    harsh = SCHOOLED.model_copy(update={"learning_rate": 0.3})  # so that the last check is not the best
    job = jobs_for(frames, changed(TINY, training=harsh))[0][0]
    fitted, validation = fit(job, frames), validation_of(data_of(job, frames))
    losses = {check.step: check.valid_loss for check in fitted.checks}
    assert losses[fitted.best_step] == min(losses.values())
    assert fitted.best_step != fitted.checks[-1].step
    assert validation_loss(reader_of(fitted), validation) == pytest.approx(min(losses.values()), abs=1e-7)


def test_training_stops_when_checks_bring_nothing_better(frames: Frames) -> None:
    harsh = SCHOOLED.model_copy(update={"learning_rate": 0.3, "patience_checks": 2})
    steps_seen = [check.step for check in fit(jobs_for(frames, changed(TINY, training=harsh))[0][0], frames).checks]
    assert steps_seen == list(range(4, 4 * len(steps_seen) + 1, 4))
    calm = SCHOOLED.model_copy(update={"patience_checks": 99})
    fitted = fit(jobs_for(frames, changed(TINY, training=calm))[0][0], frames)
    assert [check.step for check in fitted.checks] == list(range(4, 41, 4))
    losses = [check.valid_loss for check in fit(jobs_for(frames, changed(TINY, training=harsh))[0][0], frames).checks]
    best = losses.index(min(losses))
    assert len(losses) == min(best + 3, 10)


def test_the_validation_loss_is_the_mean_pinball_of_the_known_labels(frames: Frames, job: FitJob) -> None:
    fitted, part = fit(job, frames), job.fold.validation
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
    found = validation_loss(reader_of(fitted), validation_of(data_of(job, frames)))
    assert found == pytest.approx(sum(losses) / len(losses), rel=1e-5)


@pytest.mark.parametrize("power", [0.0, 1.0])
@pytest.mark.parametrize("network", [{}, {"shape": "many_to_one"}, {"head": {"kind": "point"}}], ids=str)
def test_the_validation_loss_is_the_weighted_mean_of_the_heads_loss(
    frames: Frames, network: dict[str, object], power: float
) -> None:
    """In units of the target at power 0, in returns at power 1, up to what makes the weights one on average."""
    training = TINY.training.model_copy(update={"volatility_power": power})
    spec = RecurrentSpec.model_validate({"hidden_size": 6, **network})
    job = first_job(frames, changed(TINY, network=spec, training=training))
    fitted, seen, part = fit(job, frames), seen_by(job, frames), job.fold.validation
    reader = reader_of(fitted)
    raw = read_raw(reader, seen, slice(part.start, part.stop))
    total = weights = 0.0
    for i in range(len(frames.tickers)):
        for t in range(part.start, part.stop):
            for h in range(2):
                y = float(seen.future_return[i, t, h])
                if t + h + 1 < part.stop and frames.usable[i, t] and np.isfinite(y):
                    scaled = torch.tensor(y / (float(seen.volatility[i, t]) * (h + 1) ** 0.5))
                    weight = float(seen.volatility[i, t]) ** power
                    total += weight * float(reader.network.head.loss(raw[i, t - part.start, h], scaled))
                    weights += weight
    assert validation_loss(reader, validation_of(data_of(job, frames))) == pytest.approx(total / weights, rel=1e-4)
    assert min(check.valid_loss for check in fitted.checks) == pytest.approx(total / weights, rel=1e-4)


def test_training_lowers_the_loss_of_what_it_is_trained_on(frames: Frames) -> None:
    job = jobs_for(frames, changed(TINY, training=SCHOOLED.model_copy(update={"patience_checks": 99})))[0][0]
    seen, data, network = seen_by(job, frames), supervised(job, frames), network_for(job, frames, 5)

    def loss() -> float:
        with torch.no_grad():
            raw = torch.cat([network(data.inputs[i : i + 1, 59:])[0] for i in range(3)])
        return float(masked_mean(network.head.loss(raw, data.target[:3, 59:]), data.known[:3, 59:]))

    before = loss()
    reader = Reader(network, fit_scaler(seen, job.fold.train), job.training.lookback_sessions, job.tickers)
    train_network(
        reader, data, validation_of(data_of(job, frames)), data_of(job, frames), torch.Generator().manual_seed(5)
    )
    assert loss() < before * 0.995


def test_what_is_validated_is_an_average_of_the_weights_that_trails_them(frames: Frames, job: FitJob) -> None:
    """The average moves by 1 - min(averaging, n / (n + 10)) of the way at the n-th step."""
    data, seen = supervised(job, frames), seen_by(job, frames)
    training = job.training.model_copy(
        update={"min_steps": 8, "max_steps": 8, "validation_checks": 1, "averaging": 0.3}
    )
    found, by_hand = network_for(job, frames), network_for(job, frames)
    mean = [value.detach().double().clone() for value in by_hand.parameters()]
    for step, _ in steps(by_hand, data, training, 8, torch.Generator().manual_seed(2)):
        decay = min(0.3, step / (step + 10))
        mean = [
            decay * average_value + (1 - decay) * value.detach()
            for average_value, value in zip(mean, by_hand.parameters(), strict=True)
        ]
    reader = Reader(found, fit_scaler(seen, job.fold.train), 160, job.tickers)
    shorter = data_of(replace(job, training=training), frames)
    train_network(reader, data, validation_of(shorter), shorter, torch.Generator().manual_seed(2))
    for average_value, expected in zip(found.parameters(), mean, strict=True):
        torch.testing.assert_close(average_value.double(), expected, atol=1e-6, rtol=0)


def test_an_average_follows_by_its_decay() -> None:
    job, frames = young_and_gone()
    average, network = network_for(job, frames, 1), network_for(job, frames, 2)
    expected = [0.75 * a + 0.25 * b for a, b in zip(average.parameters(), network.parameters(), strict=True)]
    follow(average, network, 0.75)
    for average_value, value in zip(average.parameters(), expected, strict=True):
        torch.testing.assert_close(average_value, value)


# --- Errors ---


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
    with pytest.raises(FitError, match="found no label that is known"):
        fit(replace(job, fold=replace(job.fold, validation=short)), frames)


@pytest.mark.parametrize("kind", ["point", "direction"])
def test_bands_are_not_learned_from_a_horizon_without_outcomes(kind: str, frames: Frames) -> None:
    spec = RecurrentSpec.model_validate({"hidden_size": 6, "head": {"kind": kind}})
    job = jobs_for(frames, changed(TINY, network=spec))[0][0]
    part = job.fold.validation
    blind = replace(frames, future_return=frames.future_return.copy())
    blind.future_return[:, part.start : part.stop, 1] = np.nan
    with pytest.raises(FitError, match="no outcome 2 sessions ahead"):
        fit(job, blind)
    fit(replace(job, forecaster=RecurrentSpec(hidden_size=6)), blind)


def test_a_fit_has_one_thread_whoever_calls() -> None:
    frames = frames_from({"T0": random_rows(500, 1)})
    job, before = first_job(frames), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with Watch() as watch:
            fit(job, frames)
        assert watch.threads == {1}
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
