"""Training a recurrent network: averaged weights, stopped early on validation."""

import copy
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.dataset.frames import Frames
from pipeline.errors import FitError
from pipeline.models.heads.head import learn_nothing
from pipeline.models.losses import masked_mean
from pipeline.models.network import RecurrentNetwork, new_network
from pipeline.models.specification import RecurrentSpec
from pipeline.training.descent import steps, steps_for
from pipeline.training.devices import repeatable
from pipeline.training.jobs import Check, FitJob, Fitted
from pipeline.training.labels import label_mask, origin_weight, scaled_target
from pipeline.training.reading import Reader, fit_input_scaler, read_raw
from pipeline.training.supervision import Supervision, lookback_of, supervision
from pipeline.training.warm import begin_from

AVERAGING_START_STEPS = 10  # the average forgets its first steps faster


def fit_network(job: FitJob, frames: Frames, former: Fitted | None = None) -> Fitted:
    """Return the fitted network of a job; `frames` hold the job's tickers and end with its validation range.

    With the fit of a former fold training begins with its weights, and takes a share of the steps. Raises FitError when
    no label can be supervised or the loss is not finite.
    """
    if not isinstance(job.forecaster, RecurrentSpec):
        raise FitError(f"found a {job.forecaster.kind} forecaster where a network was expected")
    began = time.perf_counter()
    generator = torch.Generator().manual_seed(job.seed)
    # Weights and chunks are drawn apart: another head has other weights, and still sees the same chunks.
    draws = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=generator)))
    scaler = fit_input_scaler(frames, job.fold.train)
    data = supervision(frames, scaler, job.fold.train, job.training.volatility_power, job.device)
    inputs, tickers, known = data.inputs.shape[2], len(frames.tickers), len(frames.ahead_names)
    network = new_network(job.forecaster, inputs, frames.horizons, generator, tickers, known)
    if former is not None:
        begin_from(network, former, frames.tickers)
    lookback = lookback_of(job.forecaster, job.training)
    reader = Reader(network.to(job.device), scaler, lookback, frames.tickers)
    validation = validation_of(frames, job)
    with repeatable(job.device, job.training.deterministic):
        progress = train(reader, data, validation, job, draws)
        spread = learned_spread(reader, validation)
    arrays = {f"network.{name}": value.cpu().numpy() for name, value in network.state_dict().items()}
    arrays |= {f"spread.{name}": value.numpy() for name, value in spread.items()}
    return Fitted(
        forecaster=job.forecaster,
        features=job.features,
        ahead=job.ahead,
        tickers=job.tickers,
        horizons=frames.horizons,
        lookback_sessions=lookback,
        arrays={**arrays, "scaler.mean": scaler.mean, "scaler.std": scaler.std},
        checks=tuple(progress.checks),
        best_step=progress.best_step,
        seconds=time.perf_counter() - began,
    )


def train(
    reader: Reader, data: Supervision, validation: "Validation", job: FitJob, generator: torch.Generator
) -> "Progress":
    """Train the network, leave the best averaged weights in it, and return what was seen on the way."""
    network, training = reader.network, job.training
    budget = max(round(steps_for(data, training) * (training.warm_share if job.begins_from else 1.0)), 1)
    look_every = max(budget // training.looks, 1)
    progress = Progress(training.patience_looks)
    average = Reader(copy.deepcopy(network), reader.scaler, reader.lookback_sessions, reader.tickers)
    for step, loss in steps(network, data, training, budget, generator):
        follow(average.network, network, min(training.averaging, step / (step + AVERAGING_START_STEPS)))
        if step % look_every == 0 or step == budget:
            progress.look(Check(step, float(loss), validation_loss(average, validation)), average.network)
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


def follow(average: RecurrentNetwork, network: RecurrentNetwork, decay: float) -> None:
    """Move the averaged weights towards the trained ones (Polyak and Juditsky 1992, exponentially weighted)."""
    with torch.no_grad():
        for mean, value in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(value, 1.0 - decay)


@dataclass(frozen=True)
class Validation:
    """The validation range of a job: its frames, its origins, their outcomes and weights."""

    frames: Frames
    origins: slice
    target: Tensor  # [ticker, origin, horizon], in units of vol x sqrt(h)
    known: Tensor  # [ticker, origin, horizon] bool
    weight: Tensor  # [ticker, origin, 1]


def validation_of(frames: Frames, job: FitJob) -> Validation:
    """Return the validation range of a job; raises FitError when it has no label."""
    part = job.fold.validation
    origins = slice(part.start, part.stop)
    target = torch.from_numpy(np.nan_to_num(scaled_target(frames)[:, origins]))
    known = torch.from_numpy(label_mask(frames, part)[:, origins])
    weight = torch.from_numpy(origin_weight(frames, job.fold.train, job.training.volatility_power)[:, origins, None])
    if not known.any():
        raise FitError(f"no label to validate with between {part.first} and {part.until}")
    return Validation(frames, origins, target, known, weight)


def validation_loss(reader: Reader, validation: Validation) -> float:
    """Return the mean loss of the head over the validation range, read as every forecast is read."""
    head, answered = reader.network.head, slice(0, reader.network.horizons)
    raw = read_raw(reader, validation.frames, validation.origins)
    loss = head.loss(raw, validation.target[..., answered])  # [ticker, origin, horizon]
    return float(masked_mean(loss, validation.known[..., answered], validation.weight))


def learned_spread(reader: Reader, validation: Validation) -> dict[str, Tensor]:
    """Return what the head learns of the outcomes around it, from the validation range.

    Raises FitError where it has to learn from a horizon without any outcome there: its bands would have no width.
    """
    if reader.network.head.learn is not learn_nothing:
        refuse_unknown_horizons(validation, reader.network.horizons)
    answered = slice(0, reader.network.horizons)
    raw = read_raw(reader, validation.frames, validation.origins)
    return dict(reader.network.head.learn(raw, validation.target[..., answered], validation.known[..., answered]))


def refuse_unknown_horizons(validation: Validation, horizons: int) -> None:
    """Raise FitError where no outcome of a horizon is known before the validation range ends."""
    known = validation.known[..., :horizons].flatten(0, 1).any(dim=0)  # [horizon]
    lacking = [str(h) for h, some in enumerate(known.tolist(), 1) if not some]
    if lacking:
        raise FitError(
            f"found no outcome {', '.join(lacking)} sessions ahead within the validation range, expected some: this "
            "head learns its bands there; lengthen the validation or forecast fewer horizons"
        )
