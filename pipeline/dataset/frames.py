"""Frames: everything that a fit or a forecast may read, as arrays that worker processes share through a folder."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.arrays import Booleans, Floats, Floats32, Indices, Sessions
from pipeline.dataset.context import NO_CONTEXT, Context
from pipeline.dataset.covariates.known_future import known_future_values
from pipeline.dataset.features import Feature, build_features
from pipeline.dataset.panel import Panel
from pipeline.dataset.targets import future_returns, origin_volatility, relative_volatility, rolling_volatility


def _no_known_future() -> Floats32:
    return np.zeros((0, 0, 0), dtype=np.float32)


@dataclass(frozen=True)
class Frames:
    """Arrays by [ticker, session]; NaN where absent. `usable` marks the origins a forecast may be made from.

    `features` are known at their session; `known_future` holds the known-future covariates of the target sessions.
    """

    tickers: tuple[str, ...]
    feature_names: tuple[str, ...]
    sessions: Sessions  # [session] datetime64[D]
    features: Floats32  # [ticker, session, feature], unscaled
    volatility: Floats32  # [ticker, session], daily: the unit of targets
    volatility_20: Floats32  # [ticker, session], daily: of the last 20 returns
    relative_volatility: Floats32  # [ticker, session], log of it over its own usual level
    log_return: Floats32  # [ticker, session]
    future_return: Floats32  # [ticker, session, horizon]
    usable: Booleans  # [ticker, session]
    reference_close: Floats  # [ticker, session], as traded
    known_future_names: tuple[str, ...] = ()
    known_future: Floats32 = field(default_factory=_no_known_future)  # [session, horizon, covariate], unscaled

    @property
    def horizons(self) -> int:
        """H, the number of horizons."""
        return int(self.future_return.shape[2])

    @property
    def first(self) -> Indices:
        """Return each ticker's first session with every feature, where reading may begin; the length if it has none."""
        known: Booleans = np.all(np.isfinite(self.features), axis=2)
        first: Indices = np.where(known.any(axis=1), known.argmax(axis=1), known.shape[1])
        return first

    def until(self, stop: int) -> "Frames":
        """Return what was known before session index `stop`: later rows are gone, and so are labels that need them."""
        cut = {name: getattr(self, name)[:, :stop] for name in _BY_TICKER_AND_SESSION}
        label = np.array(cut["future_return"])
        for h in range(1, self.horizons + 1):
            label[:, max(stop - h, 0) :, h - 1] = np.nan
        cut["future_return"] = label
        return replace(self, sessions=self.sessions[:stop], known_future=self.known_future[:stop], **cut)

    def of(self, tickers: Sequence[str]) -> "Frames":
        """Return the same frames for these tickers alone, in their order."""
        if tuple(tickers) == self.tickers:
            return self
        return self.at(np.array([self.tickers.index(ticker) for ticker in tickers], dtype=np.int64))

    def at(self, rows: Indices) -> "Frames":
        """Return the same frames for the tickers in these rows alone."""
        cut = {name: getattr(self, name)[rows] for name in _BY_TICKER_AND_SESSION}
        return replace(self, tickers=tuple(self.tickers[row] for row in rows), **cut)

    def with_features(self, names: Sequence[str]) -> "Frames":
        """Return the same frames with these features alone, in their order."""
        if tuple(names) == self.feature_names:
            return self
        columns = [self.feature_names.index(name) for name in names]
        return replace(self, feature_names=tuple(names), features=self.features[..., columns])

    def with_known_future(self, names: Sequence[str]) -> "Frames":
        """Return the same frames with these known-future covariates alone, in their order."""
        if tuple(names) == self.known_future_names:
            return self
        columns = [self.known_future_names.index(name) for name in names]
        return replace(self, known_future_names=tuple(names), known_future=self.known_future[..., columns])


_NAMES = ("tickers", "feature_names", "known_future_names")
_BY_TICKER_AND_SESSION = (
    "features",
    "volatility",
    "volatility_20",
    "relative_volatility",
    "log_return",
    "future_return",
    "usable",
    "reference_close",
)


def build_frames(
    panel: Panel,
    features: tuple[Feature, ...],
    market_members: tuple[str, ...],
    horizons: int,
    minimum_sessions: int,
    context: Context = NO_CONTEXT,
) -> Frames:
    """Return the frames of a panel.

    An origin is usable once its ticker has `minimum_sessions` own sessions, and while the ticker belongs to the
    universe: outside, it is neither trained on nor forecast, though its earlier bars are read. Raises UsageError where
    a feature reads other calendars and there are none.
    """
    values = build_features(panel, features, market_members, minimum_sessions, context)
    volatility = origin_volatility(panel).astype(np.float32)
    old_enough = np.cumsum(panel.present, axis=1) >= minimum_sessions
    usable = panel.present & old_enough & np.isfinite(volatility) & np.isfinite(values).all(axis=2)
    return Frames(
        tickers=panel.tickers,
        feature_names=tuple(feature.name for feature in features),
        sessions=panel.sessions,
        features=values,
        volatility=volatility,
        volatility_20=rolling_volatility(panel).astype(np.float32),
        relative_volatility=relative_volatility(volatility).astype(np.float32),
        log_return=panel.log_return.astype(np.float32),
        future_return=future_returns(panel, horizons).astype(np.float32),
        usable=usable if context.membership is None else usable & context.membership,
        reference_close=panel.close,
        known_future_names=tuple(covariate.name for covariate in context.known_future),
        known_future=known_future_values(context.known_future, panel.calendar, panel.sessions, horizons),
    )


def save_frames(frames: Frames, folder: Path) -> None:
    """Write the frames into a folder of .npy files, to be opened memory-mapped."""
    folder.mkdir(parents=True, exist_ok=True)
    names = {name: getattr(frames, name) for name in _NAMES}
    for name in _arrays():
        np.save(folder / f"{name}.npy", getattr(frames, name), allow_pickle=False)
    (folder / "names.json").write_text(json.dumps(names))


def open_frames(folder: Path) -> Frames:
    """Return the frames of a folder, memory-mapped and read-only."""
    saved = json.loads((folder / "names.json").read_text())
    names: dict[str, Any] = {name: tuple(saved[name]) for name in _NAMES}
    arrays: dict[str, Any] = {
        name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _arrays()
    }
    return Frames(**names, **arrays)


def _arrays() -> list[str]:
    return [column.name for column in fields(Frames) if column.name not in _NAMES]
