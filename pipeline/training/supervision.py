"""What a network is supervised with: scaled inputs, targets, and chunks drawn from them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.panel import Indices
from pipeline.dataset.scaling import Scaler
from pipeline.errors import FitError
from pipeline.models.specification import RecurrentSpec
from pipeline.training.labels import label_mask, origin_weight, scaled_target
from pipeline.training.reading import inputs_of
from pipeline.training.specification import TrainingSpec


@dataclass(frozen=True)
class Supervision:
    """Inputs and targets on one device, the mask of supervised labels of one range, and their weights."""

    inputs: Tensor  # [ticker, session, input]
    target: Tensor  # [ticker, session, horizon], in units of vol x sqrt(h)
    known: Tensor  # [ticker, session, horizon] bool
    weight: Tensor  # [ticker, session, 1]
    first: Indices  # [ticker], the first session that may be read


@dataclass(frozen=True)
class Chunk:
    """A drawn batch of sequences."""

    ticker: Tensor  # [batch, 1]
    session: Tensor  # [batch, chunk]
    inside: Tensor  # [batch, chunk], False in the padding after the last session


def supervision(
    frames: Frames, scaler: Scaler, train_range: Range, volatility_power: float, device: str
) -> Supervision:
    """Return what a network is supervised with: nothing at or after the end of the training range.

    Raises FitError when no label can be supervised.
    """
    stop = train_range.stop
    target, known = scaled_target(frames)[:, :stop], label_mask(frames, train_range)[:, :stop]
    if not known.any():
        raise FitError(f"no label to learn from between {train_range.first} and {train_range.until}")
    weight = origin_weight(frames, train_range, volatility_power)[:, :stop, None]
    return Supervision(
        inputs=torch.from_numpy(inputs_of(frames, scaler, slice(0, stop))).to(device),
        target=torch.from_numpy(np.where(known, target, np.float32(0.0))).to(device),
        known=torch.from_numpy(known).to(device),
        weight=torch.from_numpy(weight).to(device),
        first=frames.first,
    )


def supervised_from(spec: RecurrentSpec, training: TrainingSpec) -> int:
    """Return the first supervised session of a chunk: the one after the burn-in, or the last of many to one."""
    return training.chunk_sessions - 1 if spec.shape == "many_to_one" else training.burn_in_sessions


def lookback_of(spec: RecurrentSpec, training: TrainingSpec) -> int:
    """Return the sessions that a forecast reads before its origin, or with it where only many to one was learned."""
    return training.chunk_sessions if spec.shape == "many_to_one" else training.lookback_sessions


class Chunks:
    """Draws chunks: a ticker and a start, uniform over every start that leaves a supervised session.

    Raises FitError where no ticker has such a start.
    """

    def __init__(self, data: Supervision, training: TrainingSpec, supervised_from: int) -> None:
        sessions = data.inputs.shape[1]
        supervised = data.known.any(dim=2).cpu().numpy()  # [ticker, session]
        earliest = np.where(supervised.any(axis=1), supervised.argmax(axis=1), sessions)
        low = np.maximum(np.asarray(data.first), earliest - supervised_from)
        latest = sessions - 1 - supervised[:, ::-1].argmax(axis=1)
        high = np.maximum(np.minimum(sessions - training.chunk_sessions, latest - supervised_from), low)
        reached = supervised.any(axis=1) & (latest >= low + supervised_from)
        if not reached.any():
            raise FitError(
                f"no label to learn from: found none with {supervised_from} sessions before it, expected some; "
                "give more history or shorten chunk_sessions"
            )
        count = np.where(reached, high - low + 1, 0)
        self._ends = torch.from_numpy(np.cumsum(count))
        self._low = torch.from_numpy(low)
        self._count = torch.from_numpy(count)
        self._offsets = torch.arange(training.chunk_sessions)
        self._size = training.batch_chunks
        self._last = sessions - 1

    def draw(self, generator: torch.Generator) -> Chunk:
        """Return the next batch."""
        place = torch.randint(int(self._ends[-1]), (self._size,), generator=generator)  # [batch]
        ticker = torch.searchsorted(self._ends, place, right=True)  # [batch]
        start = self._low[ticker] + place - (self._ends[ticker] - self._count[ticker])  # [batch]
        session = start[:, None] + self._offsets  # [batch, chunk]
        return Chunk(ticker[:, None], session.clamp_max(self._last), session <= self._last)
