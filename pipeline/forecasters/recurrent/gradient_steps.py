"""Gradient steps on drawn chunks, through all of a chunk or truncated within it."""

from collections.abc import Callable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from pipeline.forecasters.recurrent.cells import detached
from pipeline.forecasters.recurrent.losses import masked_mean
from pipeline.forecasters.recurrent.network import RecurrentNetwork, States
from pipeline.forecasters.recurrent.specification import supervised_from
from pipeline.forecasters.recurrent.supervision import Chunk, Chunks, Supervision
from pipeline.forecasters.training_specification import TrainingSpec

UNKNOWN_SHARE = 0.1  # of the chunks are shown without their ticker's name, so that a new one can be forecast


def steps_for(data: Supervision, training: TrainingSpec) -> int:
    """Return the gradient steps that make `epochs` passes over the supervised sessions, within the bounds."""
    supervised = int(data.known.any(dim=2).sum())
    per_step = training.batch_chunks * max(training.chunk_sessions - training.burn_in_sessions, 1)
    return min(max(-(-training.epochs * supervised // per_step), training.min_steps), training.max_steps)


def steps(
    network: RecurrentNetwork, data: Supervision, training: TrainingSpec, budget: int, generator: torch.Generator
) -> Iterator[tuple[int, Tensor]]:
    """Draw one batch of chunks at a time, descend on it, and yield its number and mean loss."""
    data = _answered(data, network.horizons)
    begin = supervised_from(network.spec, training)
    chunks = Chunks(data, training, begin)
    update = _updates(network, training, budget * sum(part.stop > begin for part in _segments(training)))
    noise = generator if data.inputs.device.type == "cpu" else _generator_on(data.inputs.device, generator)
    for step in range(1, budget + 1):
        yield step, _descend(network, data, chunks.draw(generator), training, (begin, update, noise))


def _answered(data: Supervision, horizons: int) -> Supervision:
    """Return the labels of the horizons that the network answers, all or the first."""
    return replace(data, target=data.target[..., :horizons], known=data.known[..., :horizons])


Update = Callable[[Tensor], None]


def _descend(
    network: RecurrentNetwork,
    data: Supervision,
    chunk: Chunk,
    training: TrainingSpec,
    how: tuple[int, Update, torch.Generator],
) -> Tensor:
    """Descend on a batch, segment by segment, and return the mean of the losses."""
    begin, update, noise = how
    device = data.inputs.device
    ticker, session = chunk.ticker.to(device), chunk.session.to(device)
    name = _names(network, ticker, noise)
    known = data.known[ticker, session] & chunk.inside.to(device)[..., None]
    known[:, :begin] = False  # [batch, chunk, horizon]
    states: States | None = None
    losses = []
    for part in _segments(training):
        segment = session[:, part]
        raw, states = network(data.inputs[ticker, segment], name, states, noise)  # [batch, part, horizon, size]
        if known[:, part].any():
            values = network.head.loss(raw, data.target[ticker, segment])  # [batch, part, horizon]
            loss = masked_mean(values, known[:, part], data.weight[ticker, segment])
            update(loss)
            losses.append(loss.detach())
        states = [detached(state) for state in states]
    return torch.stack(losses).mean()


def _segments(training: TrainingSpec) -> list[slice]:
    length = training.truncate_sessions or training.chunk_sessions
    return [slice(start, start + length) for start in range(0, training.chunk_sessions, length)]


def _names(network: RecurrentNetwork, ticker: Tensor, generator: torch.Generator) -> Tensor | None:
    """Return the embedding's row [batch] of each chunk's ticker, 0 for some of them."""
    if network.embedding is None:
        return None
    is_named = torch.rand(ticker.shape, generator=generator, device=ticker.device) >= UNKNOWN_SHARE
    return ((ticker + 1) * is_named)[:, 0]


def _updates(network: RecurrentNetwork, training: TrainingSpec, total: int) -> Update:
    """Return the function that takes one gradient step on a loss."""
    parameters = list(network.parameters())
    optimizer = OPTIMIZERS[training.optimizer](
        parameters, lr=training.learning_rate, weight_decay=training.weight_decay
    )
    schedule = (
        torch.optim.lr_scheduler.OneCycleLR(optimizer, training.learning_rate, total_steps=total)
        if training.schedule == "one_cycle"
        else torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    )

    def update(loss: Tensor) -> None:
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, training.gradient_clip)
        optimizer.step()
        schedule.step()

    return update


OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adamw": torch.optim.AdamW,
    "adam": torch.optim.Adam,
    "sgd": torch.optim.SGD,
}


def _generator_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    return torch.Generator(device).manual_seed(generator.initial_seed())
