"""Reading a series: a network's output at every origin, from one pass over each ticker's sessions or from windows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import Floats32, Indices
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.scaling import Scaler, fit_known_future_scaler, fit_scaler
from pipeline.errors import FitError
from pipeline.forecasters.forecaster import LEVELS, Fitted
from pipeline.forecasters.recurrent.network import RecurrentNetwork
from pipeline.forecasters.recurrent.specification import RecurrentSpec

TICKERS_AT_ONCE = 25  # bounds the memory of a pass
WINDOWS_AT_ONCE = 4096


@dataclass(frozen=True)
class Reader:
    """A network with all it needs to read frames: their scaler, how far back, and its tickers' names."""

    network: RecurrentNetwork
    scaler: Scaler
    lookback_sessions: int
    tickers: tuple[str, ...]  # that it was trained on

    def names(self, tickers: Sequence[str]) -> Tensor:
        """Return the embedding's row of each ticker, 0 for one it was not trained on."""
        known = {ticker: row for row, ticker in enumerate(self.tickers, 1)}
        return torch.tensor([known.get(ticker, 0) for ticker in tickers])


def fit_input_scaler(frames: Frames, train: Range) -> Scaler:
    """Return the scaler [input] of what a network reads, over training rows only."""
    features, known_future = fit_scaler(frames, train), fit_known_future_scaler(frames, train)
    pairs = ((features.mean, known_future.mean), (features.std, known_future.std))
    mean, std = (np.concatenate((first, np.tile(second, frames.horizons))) for first, second in pairs)
    return Scaler(mean, std)


def inputs_of(frames: Frames, scaler: Scaler, sessions: slice) -> Floats32:
    """Return what a network reads [ticker, session, input], in standard deviations.

    That is the features, then what is known in advance of the target sessions, horizon by horizon.
    """
    features = frames.features[:, sessions]
    if not frames.known_future_names:
        return scaler.apply(features)
    known_future = frames.known_future[sessions].reshape(features.shape[1], -1)  # [session, horizon x known]
    everyone = np.broadcast_to(known_future, (len(features), *known_future.shape))
    return scaler.apply(np.concatenate((features, everyone), axis=-1))


def read_raw(reader: Reader, frames: Frames, origins: slice) -> Tensor:
    """Return the head's raw numbers [ticker, origin, horizon, size] for session indices start..stop of `origins`.

    Each series is read in one pass from `lookback_sessions` before the first origin, or from the ticker's first session
    with every feature if that is later. A network that learned many to one reads a window of its own for every origin.
    """
    network = reader.network
    shape = (len(frames.tickers), origins.stop - origins.start, network.horizons, network.head.size)
    result = torch.full(shape, torch.nan)
    parts = _windows if network.spec.shape == "many_to_one" else _passes
    with torch.no_grad():
        for rows, at, raw in parts(reader, frames, origins):
            result[rows, at] = raw
    return result


Part = tuple[Indices, slice, Tensor]


def _passes(reader: Reader, frames: Frames, origins: slice) -> Iterator[Part]:
    device, names = next(reader.network.parameters()).device, reader.names(frames.tickers)
    begin = max(origins.start - reader.lookback_sessions, 0)
    for start, rows in rows_by_first_read(np.maximum(frames.first, begin), origins.stop):
        inputs = torch.from_numpy(inputs_of(frames.at(rows), reader.scaler, slice(start, origins.stop)))
        raw = reader.network(inputs.to(device), names[rows].to(device))[0].cpu()  # [row, session, horizon, size]
        offset = max(start, origins.start)
        yield rows, slice(offset - origins.start, None), raw[:, offset - start :]


def _windows(reader: Reader, frames: Frames, origins: slice) -> Iterator[Part]:
    device = next(reader.network.parameters()).device
    for rows, window, names in windows(reader, frames, origins):
        raw = reader.network(window.to(device), names.to(device))[0][:, -1].cpu()  # [row x origin, horizon, size]
        yield rows, slice(None), raw.unflatten(0, (len(rows), -1))


def windows(reader: Reader, frames: Frames, origins: slice) -> Iterator[tuple[Indices, Tensor, Tensor]]:
    """Yield rows of tickers with the windows [row x origin, session, input] that end at their origins, and their names.

    A window has `lookback_sessions`; names are rows of the embedding [row x origin].
    """
    names, length = reader.names(frames.tickers), reader.lookback_sessions
    at_once = max(WINDOWS_AT_ONCE // (origins.stop - origins.start), 1)
    for start in range(0, len(frames.tickers), at_once):
        rows = np.arange(start, min(start + at_once, len(frames.tickers)))
        inputs = torch.from_numpy(inputs_of(frames.at(rows), reader.scaler, slice(0, origins.stop)))
        session = np.arange(origins.start, origins.stop)[:, None] + np.arange(1 - length, 1)  # [origin, window]
        # A ticker that is younger than the window shows its first session again in place of those before it.
        inside = np.minimum(np.maximum(session[None], frames.first[rows, None, None]), origins.stop - 1)
        window = inputs[torch.arange(len(rows))[:, None, None], torch.from_numpy(inside)].flatten(0, 1)
        yield rows, window, names[rows].repeat_interleave(len(session))


def rows_by_first_read(first_read: Indices, stop: int) -> Iterator[tuple[int, Indices]]:
    """Yield (start, rows) groups of tickers that are read from the same session, in blocks."""
    for start in np.unique(first_read[first_read < stop]):
        rows = np.flatnonzero(first_read == start)
        for block in range(0, len(rows), TICKERS_AT_ONCE):
            yield int(start), rows[block : block + TICKERS_AT_ONCE]


def reader_of(fitted: Fitted) -> Reader:
    """Return the network of a fitted one, ready to read; raises FitError where arrays and specification differ."""
    if not isinstance(fitted.forecaster, RecurrentSpec):
        raise FitError(f"found a {fitted.forecaster.kind} forecaster where a network was expected")
    inputs = len(fitted.features) + len(fitted.known_future) * fitted.horizons
    network = RecurrentNetwork(
        fitted.forecaster, inputs, fitted.horizons, len(fitted.tickers), len(fitted.known_future)
    )
    try:
        network.load_state_dict(network_arrays(fitted))
    except RuntimeError as error:
        raise FitError(
            f"found weights that do not fit their specification: {error}; expected those that were fitted; delete the "
            "damaged fit and run again"
        ) from error
    scaler = Scaler(fitted.arrays["scaler.mean"], fitted.arrays["scaler.std"])
    return Reader(network.eval(), scaler, fitted.lookback_sessions, fitted.tickers)


def read_quantiles(fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles [ticker, origin, horizon, level] in units of vol x sqrt(h), all horizons from one answer."""
    reader, spread = reader_of(fitted), spread_of(fitted)
    raw, levels = read_raw(reader, frames, origins), torch.tensor(LEVELS)
    parts = [reader.network.head.inverse(part, levels, spread) for part in torch.split(raw, TICKERS_AT_ONCE)]
    quantiles: Floats32 = torch.cat(parts).numpy()
    return quantiles


def read_probabilities(fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return probabilities of down, flat and up [ticker, origin, horizon, class], of the horizons answered at once.

    Raises FitError where the network's head has none.
    """
    reader = reader_of(fitted)
    if reader.network.head.probabilities is None:
        raise FitError(
            f"found the head {reader.network.spec.head.kind} where one with class probabilities was expected"
        )
    probabilities: Floats32 = reader.network.head.probabilities(read_raw(reader, frames, origins)).numpy()
    return probabilities


def spread_of(fitted: Fitted) -> dict[str, Tensor]:
    """Return what the head of a fitted network learned of the outcomes around it."""
    return _part(fitted, "spread.")


def network_arrays(fitted: Fitted) -> dict[str, Tensor]:
    """Return the weights of a fitted network by their names in it."""
    return _part(fitted, "network.")


def _part(fitted: Fitted, prefix: str) -> dict[str, Tensor]:
    arrays = {name: value for name, value in fitted.arrays.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): torch.from_numpy(value) for name, value in arrays.items()}
