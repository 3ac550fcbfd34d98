"""What a network is supervised with: scaled inputs, targets, and chunks drawn from them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import Booleans, Floats32, Indices
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, refuse_no_labels, scaled_target
from pipeline.dataset.scaling import Scaler
from pipeline.errors import FitError
from pipeline.forecasters.recurrent.reading import inputs_of
from pipeline.forecasters.training_specification import TrainingSpec


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
    refuse_no_labels(known, train_range)
    weight = origin_weight(frames, train_range, volatility_power)[:, :stop, None]
    return Supervision(
        inputs=torch.from_numpy(inputs_of(frames, scaler, slice(0, stop))).to(device),
        target=torch.from_numpy(np.where(known, target, np.float32(0.0))).to(device),
        known=torch.from_numpy(known).to(device),
        weight=torch.from_numpy(weight).to(device),
        first=frames.first,
    )


class Chunks:
    """Draws chunks: a ticker and a start, uniform over every start that leaves a supervised session.

    Raises FitError where no ticker has such a start.
    """

    def __init__(self, data: Supervision, training: TrainingSpec, first_supervised: int) -> None:
        supervised = data.known.any(dim=2).cpu().numpy()  # [ticker, session]
        rows, starts = np.nonzero(_starts(supervised, data.first, training.chunk_sessions, first_supervised))
        if not len(rows):
            raise FitError(
                f"no label to learn from: found none with {first_supervised} sessions before it, expected some; "
                "give more history or shorten chunk_sessions"
            )
        self._rows, self._starts = torch.from_numpy(rows), torch.from_numpy(starts)
        self._offsets = torch.arange(training.chunk_sessions)
        self._size = training.batch_chunks
        self._last = supervised.shape[1] - 1

    def draw(self, generator: torch.Generator) -> Chunk:
        """Return the next batch."""
        place = torch.randint(len(self._rows), (self._size,), generator=generator)  # [batch]
        ticker, start = self._rows[place], self._starts[place]  # [batch]
        session = start[:, None] + self._offsets  # [batch, chunk]
        return Chunk(ticker[:, None], session.clamp_max(self._last), session <= self._last)


def _starts(supervised: Booleans, first: Indices, length: int, first_supervised: int) -> Booleans:
    """Return where a chunk may start [ticker, session].

    That is from the ticker's first session on, or as many before its first supervised one as are not supervised; so
    late that it ends with the last session, or, where history is short, that the last supervised one is still reached;
    and only where a supervised session lies within.
    """
    sessions = supervised.shape[1]
    any_supervised = supervised.any(axis=1)
    earliest = np.where(any_supervised, supervised.argmax(axis=1), sessions)
    low = np.maximum(np.asarray(first), earliest - first_supervised)
    latest = sessions - 1 - supervised[:, ::-1].argmax(axis=1)
    high = np.maximum(np.minimum(sessions - length, latest - first_supervised), low)
    start = np.arange(sessions)
    before = np.pad(np.cumsum(supervised, axis=1), ((0, 0), (1, 0)))  # [ticker, session + 1]
    begin, end = np.minimum(start + first_supervised, sessions), np.minimum(start + length, sessions)
    within = (start >= low[:, None]) & (start <= high[:, None])
    found: Booleans = within & np.greater(before[:, end], before[:, begin])
    return found


def origin_weight(frames: Frames, train: Range, power: float) -> Floats32:
    """Return each origin's weight [ticker, session]: its volatility to a power, one on average over the training."""
    volatility = np.nan_to_num(frames.volatility, nan=0.0)
    weight: Floats32 = np.where(volatility > 0, volatility, np.float32(1.0)) ** np.float32(power)
    counted = frames.usable[:, train.start : train.stop]
    mean = weight[:, train.start : train.stop][counted].mean() if counted.any() else 1.0
    return (weight / np.float32(mean)).astype(np.float32)
