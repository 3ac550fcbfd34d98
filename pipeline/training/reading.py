"""Reading a series: every forecast comes from one pass over a ticker's sessions from a zero state."""

import numpy as np
import torch
from torch import Tensor

from pipeline.dataset.frames import Frames
from pipeline.dataset.panel import Indices
from pipeline.dataset.scaling import Scaler
from pipeline.errors import FitError
from pipeline.models.network import RecurrentNetwork
from pipeline.models.specification import LEVELS, RecurrentSpec
from pipeline.training.jobs import Fitted

TICKERS_AT_ONCE = 25  # bounds the memory of a pass


def read_quantiles(
    network: RecurrentNetwork, frames: Frames, scaler: Scaler, origins: slice, lookback_sessions: int
) -> Tensor:
    """Return scaled quantiles [ticker, origin, horizon, level] for session indices start..stop of `origins`.

    Each series is read from `lookback_sessions` before the first origin, or from the ticker's first session with
    every feature if that is later; a ticker that begins within the window is read from its own first session.
    """
    device = next(network.parameters()).device
    shape = (len(frames.tickers), origins.stop - origins.start, frames.horizons, len(LEVELS))
    result = torch.full(shape, torch.nan)
    begin = max(origins.start - lookback_sessions, 0)
    first = frames.first
    with torch.no_grad():
        for start, rows in _rows_by_first_read(np.maximum(first, begin), origins.stop):
            features = scaler.apply(frames.features[rows, start : origins.stop])
            quantiles = network(torch.from_numpy(features).to(device)).cpu()  # [row, session, horizon, level]
            offset = max(start, origins.start)
            result[rows, offset - origins.start :] = quantiles[:, offset - start :]
    return result


def _rows_by_first_read(first_read: Indices, stop: int) -> list[tuple[int, Indices]]:
    """Return (start, rows) groups of tickers that are read from the same session, in blocks."""
    groups = []
    for start in np.unique(first_read[first_read < stop]):
        rows = np.flatnonzero(first_read == start)
        blocks = range(0, len(rows), TICKERS_AT_ONCE)
        groups += [(int(start), rows[block : block + TICKERS_AT_ONCE]) for block in blocks]
    return groups


def load_network(fitted: Fitted) -> RecurrentNetwork:
    """Return the network of a fitted one, ready to read; raises FitError where arrays and specification differ."""
    if not isinstance(fitted.forecaster, RecurrentSpec):
        raise FitError(f"found a {fitted.forecaster.kind} forecaster where a network was expected")
    network = RecurrentNetwork(fitted.forecaster, len(fitted.features), fitted.horizons)
    own = {name: torch.from_numpy(value) for name, value in fitted.arrays.items() if not name.startswith("scaler.")}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise FitError(f"the kept weights do not fit their specification: {error}") from error
    return network.eval()
