"""Training a recurrent network: averaged weights, stopped early on validation."""

import copy
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, refuse_no_labels, scaled_target
from pipeline.errors import FitError
from pipeline.forecasters.forecaster import FitData, Fitted, Parameters, ValidationCheck
from pipeline.forecasters.recurrent.gradient_steps import steps, steps_for
from pipeline.forecasters.recurrent.heads.head import learn_nothing
from pipeline.forecasters.recurrent.losses import masked_mean
from pipeline.forecasters.recurrent.network import RecurrentNetwork, new_network
from pipeline.forecasters.recurrent.reading import Reader, fit_input_scaler, network_arrays, read_raw
from pipeline.forecasters.recurrent.specification import RecurrentSpec, lookback_of
from pipeline.forecasters.recurrent.supervision import Supervision, origin_weight, supervision

AVERAGING_START_STEPS = 10  # the average forgets its first steps faster


def fit_network(spec: RecurrentSpec, data: FitData) -> Parameters:
    """Return what a network has learned.

    With the fit of the previous fold, training begins with its weights and takes a share of the steps. Raises FitError
    when no label can be supervised or the loss is not finite.
    """
    frames, train = data.frames, data.fold.train
    generator = torch.Generator().manual_seed(data.seed)
    # Weights and chunks are drawn apart: another head has other weights, and still sees the same chunks.
    draws = torch.Generator().manual_seed(int(torch.randint(2**31, (), generator=generator)))
    scaler = fit_input_scaler(frames, train)
    supervised = supervision(frames, scaler, train, data.training.volatility_power, data.device)
    inputs, tickers, known = supervised.inputs.shape[2], len(frames.tickers), len(frames.known_future_names)
    network = new_network(spec, inputs, frames.horizons, generator, tickers, known)
    if data.former is not None:
        start_from(network, data.former, frames.tickers)
    reader = Reader(network.to(data.device), scaler, lookback_of(spec, data.training), frames.tickers)
    validation = validation_of(data)
    with repeatable(data.device, data.training.deterministic):
        stopping = train_network(reader, supervised, validation, data, draws)
        spread = learned_spread(reader, validation)
    arrays = {f"network.{name}": value.cpu().numpy() for name, value in network.state_dict().items()}
    arrays |= {f"spread.{name}": value.numpy() for name, value in spread.items()}
    arrays |= {"scaler.mean": scaler.mean, "scaler.std": scaler.std}
    return Parameters(arrays, tuple(stopping.checks), stopping.best_step)


def train_network(
    reader: Reader, supervised: Supervision, validation: "Validation", data: FitData, generator: torch.Generator
) -> "EarlyStopping":
    """Train the network, leave the best averaged weights in it, and return the validation checks."""
    network, training = reader.network, data.training
    budget = max(round(steps_for(supervised, training) * (1.0 if data.former is None else training.warm_share)), 1)
    check_every = max(budget // training.validation_checks, 1)
    stopping = EarlyStopping(training.patience_checks)
    average = Reader(copy.deepcopy(network), reader.scaler, reader.lookback_sessions, reader.tickers)
    for step, loss in steps(network, supervised, training, budget, generator):
        follow(average.network, network, min(training.averaging, step / (step + AVERAGING_START_STEPS)))
        if step % check_every == 0 or step == budget:
            check = ValidationCheck(step, float(loss), validation_loss(average, validation))
            stopping.record(check, average.network)
        if stopping.exhausted:
            break
    network.load_state_dict(stopping.best_weights)
    return stopping


class EarlyStopping:
    """The validation checks of a training run, and the weights of the best one."""

    def __init__(self, patience_checks: int) -> None:
        self.checks: list[ValidationCheck] = []
        self.best_weights: dict[str, Tensor] = {}
        self.best_step = 0
        self._best = np.inf
        self._without_better = 0
        self._patience = patience_checks

    @property
    def exhausted(self) -> bool:
        """True once none of the last `patience_checks` checks was better than the best before."""
        return self._without_better >= self._patience

    def record(self, check: ValidationCheck, network: RecurrentNetwork) -> None:
        """Record a check and keep the weights if it is the best; raises FitError when the loss is not finite."""
        if not np.isfinite(check.train_loss + check.valid_loss):
            raise FitError(f"the loss is not finite at step {check.step}: lower the learning rate, check the bars")
        self.checks.append(check)
        self._without_better += 1
        if check.valid_loss < self._best:
            self._best, self.best_step, self._without_better = check.valid_loss, check.step, 0
            self.best_weights = {name: value.clone() for name, value in network.state_dict().items()}


def follow(average: RecurrentNetwork, network: RecurrentNetwork, decay: float) -> None:
    """Move the averaged weights towards the trained ones (Polyak and Juditsky 1992, exponentially weighted)."""
    with torch.no_grad():
        for mean, value in zip(average.parameters(), network.parameters(), strict=True):
            mean.lerp_(value, 1.0 - decay)


@dataclass(frozen=True)
class Validation:
    """The validation range of a fit: its frames, its origins, their outcomes and weights."""

    frames: Frames
    origins: slice
    target: Tensor  # [ticker, origin, horizon], in units of vol x sqrt(h)
    known: Tensor  # [ticker, origin, horizon] bool
    weight: Tensor  # [ticker, origin, 1]


def validation_of(data: FitData) -> Validation:
    """Return the validation range of a fit; raises FitError when it has no label."""
    frames, part = data.frames, data.fold.validation
    origins = slice(part.start, part.stop)
    target = torch.from_numpy(np.nan_to_num(scaled_target(frames)[:, origins]))
    known = label_mask(frames, part)[:, origins]
    weight = torch.from_numpy(origin_weight(frames, data.fold.train, data.training.volatility_power)[:, origins, None])
    refuse_no_labels(known, part)
    return Validation(frames, origins, target, torch.from_numpy(known), weight)


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


@contextmanager
def repeatable(device: str, wanted: bool) -> Iterator[None]:
    """Let a GPU compute the same bits every time within, where that is wanted; a CPU does so anyway.

    cuBLAS needs a workspace of fixed size for it, which is read when CUDA starts.
    """
    if device == "cpu" or not wanted:
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    import torch  # noqa: PLC0415

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)


EMBEDDING = "embedding.weight"


def start_from(network: RecurrentNetwork, former: Fitted, tickers: Sequence[str]) -> None:
    """Load the weights of the previous fold's fit; a ticker that it was not trained on starts as an unknown one.

    Raises FitError where the weights are not those of such a network.
    """
    weights = network_arrays(former)
    if EMBEDDING in weights:
        weights[EMBEDDING] = _rows_of(weights[EMBEDDING], former.tickers, tickers)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise FitError(
            f"the previous fold's weights do not fit this network: {error}; train without warm_start"
        ) from error


def _rows_of(embedding: Tensor, known: Sequence[str], tickers: Sequence[str]) -> Tensor:
    """Return the rows [1 + ticker, embedding] of other tickers, row 0 for each that is new."""
    row = {ticker: at for at, ticker in enumerate(known, 1)}
    return embedding[torch.tensor([0, *(row.get(ticker, 0) for ticker in tickers)])]
