"""Recursive horizons: a network of one session ahead is unrolled over sampled paths, and these are its forecast."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from pipeline.arrays import Floats, Floats32, Indices
from pipeline.dataset.frames import Frames
from pipeline.dataset.sampled_paths import (
    ReturnHistories,
    SampledPaths,
    advance_paths,
    origin_keys,
    path_features,
    path_levels,
    path_quantiles,
    path_volatility,
    refuse_unmodelled_features,
    return_histories,
    start_paths,
)
from pipeline.forecasters.forecaster import LEVELS, Fitted
from pipeline.forecasters.recurrent.cells import State
from pipeline.forecasters.recurrent.heads.head import Spread
from pipeline.forecasters.recurrent.network import States
from pipeline.forecasters.recurrent.reading import Reader, inputs_of, reader_of, rows_by_first_read, spread_of, windows

STEPS_AT_ONCE = 4096  # paths that take a step together, which bounds the memory


@dataclass(frozen=True)
class Start:
    """Origins that were read: the output of the network there, and its state."""

    ticker: Indices  # [origin]
    session: Indices  # [origin]
    raw: Tensor  # [origin, 1, size]
    states: States  # of each layer [1, origin, hidden]


@dataclass(frozen=True)
class Walk:
    """Sampled paths so far, and the network after reading the last session of each."""

    paths: SampledPaths
    volatility: Floats  # [origin, path], known at the last session; before the first step [origin, 1]
    raw: Tensor  # [origin x path, 1, size]; before the first step [origin, 1, size]
    states: States  # of each layer [1, origin x path, hidden]
    names: Tensor  # [origin x path]


@dataclass(frozen=True)
class Sampler:
    """A network of one session ahead with what its head learned, and the past of the series that it reads."""

    reader: Reader
    spread: Spread
    frames: Frames
    past: ReturnHistories

    @property
    def paths(self) -> int:
        """Paths per origin."""
        return self.reader.network.spec.sampled_paths

    @property
    def origins_at_once(self) -> int:
        """Origins whose paths take a step together."""
        return max(STEPS_AT_ONCE // self.paths, 1)


def sampled_quantiles(fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles [ticker, origin, horizon, level] in units of vol x sqrt(h), NaN where an origin is not usable.

    From the state at an origin a return is drawn, the features that follow from it are read, another one is drawn,
    and so on: the quantiles are those of the summed returns of `sampled_paths` such paths, and at horizon 1 the head's
    own. The draws follow from ticker and date, so that an origin has the same ones whatever else is forecast with it.
    Raises UsageError where a feature does not follow from own returns alone.
    """
    refuse_unmodelled_features((*frames.feature_names, *frames.known_future_names))
    sampler = Sampler(reader_of(fitted), spread_of(fitted), frames, return_histories(frames))
    shape = (len(frames.tickers), origins.stop - origins.start, fitted.horizons, len(LEVELS))
    result = np.full(shape, np.nan, dtype=np.float32)
    with torch.no_grad():
        for start in _starts(sampler, origins):
            result[start.ticker, start.session - origins.start] = _unrolled(sampler, start, fitted.horizons)
    return result


# --- Paths from the origins that were read ---


def _unrolled(sampler: Sampler, start: Start, horizons: int) -> Floats:
    """Return quantiles [origin, horizon, level] in units of vol x sqrt(h)."""
    head, walk = sampler.reader.network.head, _begun(sampler, start)
    keys, unit = origin_keys(sampler.frames, start.ticker, start.session), walk.volatility
    next_session = head.inverse(start.raw, torch.tensor(LEVELS), sampler.spread)  # [origin, 1, level]
    result = [next_session[:, 0].double().numpy()]
    total = np.zeros_like(unit)
    for step in range(horizons):
        if step:
            walk = _read(sampler, walk)
        log_return = _drawn(sampler, walk, path_levels(keys, step, sampler.paths))  # [origin, path]
        walk = replace(walk, paths=advance_paths(walk.paths, log_return))
        total = total + log_return
        if step:
            result.append(path_quantiles(total, LEVELS) / (unit * (step + 1) ** 0.5))
    return np.stack(result, axis=1)


def _begun(sampler: Sampler, start: Start) -> Walk:
    volatility = sampler.frames.volatility[start.ticker, start.session].astype(np.float64)[:, None]  # [origin, 1]
    names = sampler.reader.names([sampler.frames.tickers[row] for row in start.ticker])
    return Walk(
        paths=start_paths(sampler.past, start.ticker, start.session),
        volatility=volatility,
        raw=start.raw,
        states=[_selected(state, torch.arange(len(names)).repeat_interleave(sampler.paths)) for state in start.states],
        names=names.repeat_interleave(sampler.paths),
    )


def _drawn(sampler: Sampler, walk: Walk, levels: Floats) -> Floats:
    """Return a log return per path [origin, path], at levels of its distribution."""
    wanted = torch.from_numpy(levels).float().reshape(len(walk.raw), 1, -1)
    scaled = sampler.reader.network.head.inverse(walk.raw, wanted, sampler.spread)
    log_return: Floats = scaled.double().numpy().reshape(levels.shape) * walk.volatility
    return log_return


def _read(sampler: Sampler, walk: Walk) -> Walk:
    """Return the walk after the network has read the session that its paths reached last."""
    volatility = path_volatility(walk.paths)
    features = path_features(walk.paths, sampler.frames.feature_names, volatility).astype(np.float32)
    inputs = torch.from_numpy(sampler.reader.scaler.apply(features)).flatten(0, 1)[:, None]  # [path, 1, input]
    raw, states = sampler.reader.network(inputs, walk.names, walk.states)
    return replace(walk, volatility=volatility, raw=raw[:, 0], states=states)


# --- Origins and the states there ---


def _starts(sampler: Sampler, origins: slice) -> Iterator[Start]:
    """Yield every usable origin once, some at a time."""
    many_to_one = sampler.reader.network.spec.shape == "many_to_one"
    for start in (_from_windows if many_to_one else _from_passes)(sampler, origins):
        usable = np.flatnonzero(sampler.frames.usable[start.ticker, start.session])
        for first in range(0, len(usable), sampler.origins_at_once):
            places = usable[first : first + sampler.origins_at_once]
            rows = torch.from_numpy(places)
            states = [_selected(state, rows) for state in start.states]
            yield Start(start.ticker[places], start.session[places], start.raw[rows], states)


def _from_passes(sampler: Sampler, origins: slice) -> Iterator[Start]:
    """Read each series once, session by session from the first origin on, and keep the state at each."""
    reader, frames = sampler.reader, sampler.frames
    names, begin = reader.names(frames.tickers), max(origins.start - reader.lookback_sessions, 0)
    for start, rows in rows_by_first_read(np.maximum(frames.first, begin), origins.stop):
        inputs = torch.from_numpy(inputs_of(frames.at(rows), reader.scaler, slice(start, origins.stop)))
        first = max(start, origins.start)
        states = reader.network(inputs[:, : first - start], names[rows])[1] if first > start else None
        read: list[Start] = []
        for session in range(first, origins.stop):
            raw, states = reader.network(inputs[:, session - start, None], names[rows], states)
            read.append(Start(rows, np.full(len(rows), session), raw[:, 0], states))
            if len(read) * len(rows) >= sampler.origins_at_once or session + 1 == origins.stop:
                yield _joined(read)
                read = []


def _from_windows(sampler: Sampler, origins: slice) -> Iterator[Start]:
    """Read a window of its own for every origin, as a network that learned many to one does."""
    session = np.arange(origins.start, origins.stop)
    for rows, window, names in windows(sampler.reader, sampler.frames, origins):
        raw, states = sampler.reader.network(window, names)
        yield Start(rows.repeat(len(session)), np.tile(session, len(rows)), raw[:, -1], states)


def _joined(read: list[Start]) -> Start:
    states = [_side_by_side(list(of_layer)) for of_layer in zip(*(start.states for start in read), strict=True)]
    ticker, session = (np.concatenate([getattr(start, name) for start in read]) for name in ("ticker", "session"))
    return Start(ticker, session, torch.cat([start.raw for start in read]), states)


def _side_by_side(states: list[State]) -> State:
    if isinstance(states[0], tuple):
        hidden, memory = zip(*states, strict=True)
        return torch.cat(hidden, dim=1), torch.cat(memory, dim=1)
    return torch.cat(states, dim=1)  # type: ignore[arg-type]


def _selected(state: State, rows: Tensor) -> State:
    if isinstance(state, tuple):
        return state[0][:, rows], state[1][:, rows]
    return None if state is None else state[:, rows]
