"""Training a recurrent network: supervised at every step of a chunk, stopped early on validation."""

import copy
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.panel import Indices
from pipeline.dataset.scaling import Scaler, fit_scaler
from pipeline.errors import FitError
from pipeline.models.losses import masked_mean, pinball
from pipeline.models.network import RecurrentNetwork, new_network
from pipeline.models.specification import RecurrentSpec
from pipeline.training.jobs import Check, FitJob, Fitted
from pipeline.training.labels import label_mask, scaled_target
from pipeline.training.reading import read_quantiles
from pipeline.training.specification import TrainingSpec

AVERAGING_START_STEPS = 10  # the average forgets its first steps faster


@dataclass(frozen=True)
class Supervision:
    """Scaled features and targets on one device, and the mask of supervised labels of one range."""

    features: Tensor  # [ticker, session, feature]
    target: Tensor  # [ticker, session, horizon], in units of vol x sqrt(h)
    known: Tensor  # [ticker, session, horizon] bool
    first: Indices  # [ticker], the first session that may be read


def fit_network(job: FitJob, frames: Frames) -> Fitted:
    """Return the fitted network of a job; `frames` hold the job's tickers and end with its validation range.

    Raises FitError when no label can be supervised or the loss is not finite.
    """
    if not isinstance(job.forecaster, RecurrentSpec):
        raise FitError(f"found a {job.forecaster.kind} forecaster where a network was expected")
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(job.seed)
    scaler = fit_scaler(frames, job.fold.train)
    data = supervision(frames, scaler, job.fold.train, job.device)
    network = new_network(job.forecaster, data.features.shape[2], frames.horizons, generator).to(job.device)
    validate = Validation(frames, scaler, job)
    progress = train(network, data, job, validate, generator)
    arrays = {name: value.cpu().numpy() for name, value in network.state_dict().items()}
    return Fitted(
        forecaster=job.forecaster,
        features=job.features,
        tickers=job.tickers,
        horizons=frames.horizons,
        lookback_sessions=job.training.lookback_sessions,
        arrays={**arrays, "scaler.mean": scaler.mean, "scaler.std": scaler.std},
        checks=tuple(progress.checks),
        best_step=progress.best_step,
        seconds=time.perf_counter() - began,
    )


def supervision(frames: Frames, scaler: Scaler, train_range: Range, device: str) -> Supervision:
    """Return what a network is supervised with: nothing at or after the end of the training range."""
    stop = train_range.stop
    target, known = scaled_target(frames)[:, :stop], label_mask(frames, train_range)[:, :stop]
    if not known.any():
        raise FitError(f"no label to learn from between {train_range.first} and {train_range.until}")
    return Supervision(
        features=torch.from_numpy(scaler.apply(frames.features[:, :stop])).to(device),
        target=torch.from_numpy(np.where(known, target, np.float32(0.0))).to(device),
        known=torch.from_numpy(known).to(device),
        first=frames.first,
    )


class Chunks:
    """Draws chunks: a ticker and a start, uniform over every start that leaves a supervised session."""

    def __init__(self, data: Supervision, training: TrainingSpec) -> None:
        sessions = data.features.shape[1]
        supervised = data.known.any(dim=2).cpu().numpy()  # [ticker, session]
        earliest = np.where(supervised.any(axis=1), supervised.argmax(axis=1), sessions)
        low = np.maximum(np.asarray(data.first), earliest - training.burn_in_sessions)
        latest = sessions - 1 - supervised[:, ::-1].argmax(axis=1)
        high = np.maximum(np.minimum(sessions - training.chunk_sessions, latest - training.burn_in_sessions), low)
        count = np.where(supervised.any(axis=1), high - low + 1, 0)
        self._ends = torch.from_numpy(np.cumsum(count))
        self._low = torch.from_numpy(low)
        self._count = torch.from_numpy(count)
        self._offsets = torch.arange(training.chunk_sessions)
        self._size = training.batch_chunks
        self._last = sessions - 1

    def draw(self, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """Return ticker [batch, 1], session [batch, chunk] and inside [batch, chunk]: False in the padding."""
        place = torch.randint(int(self._ends[-1]), (self._size,), generator=generator)  # [batch]
        ticker = torch.searchsorted(self._ends, place, right=True)  # [batch]
        start = self._low[ticker] + place - (self._ends[ticker] - self._count[ticker])  # [batch]
        session = start[:, None] + self._offsets  # [batch, chunk]
        return ticker[:, None], session.clamp_max(self._last), session <= self._last


def train(
    network: RecurrentNetwork, data: Supervision, job: FitJob, validate: "Validation", generator: torch.Generator
) -> "Progress":
    """Train the network, leave the best averaged weights in it, and return what was seen on the way."""
    budget = steps_for(data, job.training)
    look_every = max(budget // job.training.looks, 1)
    progress = Progress(job.training.patience_looks)
    average = copy.deepcopy(network)
    for step, loss in steps(network, data, job.training, budget, generator):
        follow(average, network, min(job.training.averaging, step / (step + AVERAGING_START_STEPS)))
        if step % look_every == 0 or step == budget:
            progress.look(Check(step, float(loss), validate.loss(average)), average)
        if progress.exhausted:
            break
    network.load_state_dict(progress.kept)
    return progress


class Progress:
    """The looks taken during training, and the weights of the best one."""

    def __init__(self, patience_looks: int) -> None:
        self.checks: list[Check] = []
        self.kept: dict[str, Tensor] = {}
        self.best_step = 0
        self._best = np.inf
        self._without_better = 0
        self._patience = patience_looks

    @property
    def exhausted(self) -> bool:
        """True once none of the last `patience_looks` looks was better than the best before."""
        return self._without_better >= self._patience

    def look(self, check: Check, network: RecurrentNetwork) -> None:
        """Record a look and keep the weights if it is the best; raises FitError when the loss is not finite."""
        if not np.isfinite(check.train_loss + check.valid_loss):
            raise FitError(f"the loss is not finite at step {check.step}: lower the learning rate, look at the bars")
        self.checks.append(check)
        self._without_better += 1
        if check.valid_loss < self._best:
            self._best, self.best_step, self._without_better = check.valid_loss, check.step, 0
            self.kept = {name: value.clone() for name, value in network.state_dict().items()}


def steps_for(data: Supervision, training: TrainingSpec) -> int:
    """Return the gradient steps that make `epochs` passes over the supervised sessions, within the bounds."""
    supervised = int(data.known.any(dim=2).sum())
    per_step = training.batch_chunks * (training.chunk_sessions - training.burn_in_sessions)
    return min(max(-(-training.epochs * supervised // per_step), training.fewest_steps), training.most_steps)


def follow(average: RecurrentNetwork, network: RecurrentNetwork, decay: float) -> None:
    """Move the averaged weights towards the trained ones (Polyak and Juditsky 1992, exponentially weighted)."""
    with torch.no_grad():
        for mean, value in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(value, 1.0 - decay)


def steps(
    network: RecurrentNetwork, data: Supervision, training: TrainingSpec, budget: int, generator: torch.Generator
) -> Iterator[tuple[int, Tensor]]:
    """Take one gradient step at a time and yield its number and loss."""
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=training.learning_rate, weight_decay=training.weight_decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, training.learning_rate, total_steps=budget)
    chunks = Chunks(data, training)
    noise = generator if data.features.device.type == "cpu" else _generator_on(data.features.device, generator)
    for step in range(1, budget + 1):
        ticker, session, inside = (part.to(data.features.device) for part in chunks.draw(generator))
        quantiles = network(data.features[ticker, session], noise)  # [batch, chunk, horizon, level]
        known = data.known[ticker, session] & inside[..., None]  # [batch, chunk, horizon]
        known[:, : training.burn_in_sessions] = False
        loss = masked_mean(pinball(quantiles, data.target[ticker, session]), known)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, training.gradient_clip)
        optimizer.step()
        schedule.step()
        yield step, loss.detach()


def _generator_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    return torch.Generator(device).manual_seed(generator.initial_seed())


class Validation:
    """The validation range of a job, read as every forecast is read."""

    def __init__(self, frames: Frames, scaler: Scaler, job: FitJob) -> None:
        self._frames, self._scaler, self._job = frames, scaler, job
        part = job.fold.validation
        self._origins = slice(part.start, part.stop)
        self._target = torch.from_numpy(np.nan_to_num(scaled_target(frames)[:, self._origins]))
        self._known = torch.from_numpy(label_mask(frames, part)[:, self._origins])
        if not self._known.any():
            raise FitError(f"no label to validate with between {part.first} and {part.until}")

    def loss(self, network: RecurrentNetwork) -> float:
        """Return the mean pinball over the range, in units of vol x sqrt(h)."""
        training = self._job.training
        quantiles = read_quantiles(network, self._frames, self._scaler, self._origins, training.lookback_sessions)
        return float(masked_mean(pinball(quantiles, self._target), self._known))
