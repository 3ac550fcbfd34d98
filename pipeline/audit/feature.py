"""The audit of one custom feature: whether its value at a session changes with later bars.

from pipeline.audit.feature import audit_feature
result = audit_feature(Feature("momentum", 20, momentum), bars)
print(result.sentence)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pipeline.arrays import Booleans, Floats32, Indices
from pipeline.audit.tampering import TAMPERINGS, Cut, Tampering, days_of, tampered, with_holes
from pipeline.dataset.context import NO_CONTEXT, Context
from pipeline.dataset.features import Feature, build_features
from pipeline.dataset.panel import build_panel
from pipeline.errors import TapecastError, UsageError
from pipeline.market.bars import Bars
from pipeline.market.in_memory import InMemoryPrices

TOLERANCE = 1e-6
"""Relative to the value and to the feature's spread: a smaller change is rounding, such as that of an FFT filter."""

MAX_ORIGIN_SHARE = 0.98
"""The last origin lies at this share of the history, so that there are later bars to replace."""


@dataclass(frozen=True)
class FeatureFault:
    """One fault of a feature: what it is, where it shows, and both values."""

    what: str
    ticker: str
    session: str
    origin: str
    before: float
    after: float

    def __str__(self) -> str:
        origin = f", origin {self.origin}" if self.origin else ""
        return f"{self.what} ({self.ticker} at {self.session}{origin}: {self.before:.6g} becomes {self.after:.6g})"


@dataclass(frozen=True)
class FeatureAuditResult:
    """The result of the audit of one feature: its faults, empty where it may be used."""

    feature: str
    origins: tuple[str, ...]
    faults: tuple[FeatureFault, ...]

    @property
    def passed(self) -> bool:
        """True without any fault."""
        return not self.faults

    @property
    def sentence(self) -> str:
        """The result in words."""
        if self.faults:
            return f"`{self.feature}` must not be used: {'; '.join(map(str, self.faults))}."
        return (
            f"No leak found in `{self.feature}`: {len(self.origins)} origins x {len(TAMPERINGS)} tamperings, a "
            "truncated history and its warm-up."
        )


def audit_feature(
    feature: Feature, bars: Bars, origins: int = 5, seed: int = 0, context: Context = NO_CONTEXT
) -> FeatureAuditResult:
    """Return the result of auditing a feature over validated bars of one calendar.

    At some origins, spread over the history, the feature's values up to the origin must not change when all later bars
    and actions are replaced (valid garbage, a shuffled copy) or removed. Where they change, the fault says whether the
    ticker's own later bars are read or those of other tickers. There must also be a value at every session after the
    declared warm-up. At each origin one ticker has no bar, so that filling backwards shows. `context` is what a feature
    may read in addition to the bars; it is not replaced. Raises UsageError where the feature itself fails or the
    history is too short.
    """
    subject = _Subject(feature, bars, context)
    sessions = _origins(subject, origins)
    prices = with_holes(_in_memory(bars), sessions)
    leaks = [fault for origin in sessions for fault in _leaks_at(subject, prices, origin, seed)]
    faults = [*_warm_up_faults(subject, prices), *leaks]
    first = {fault.what: fault for fault in reversed(faults)}
    return FeatureAuditResult(feature.name, tuple(str(origin) for origin in sessions), tuple(reversed(first.values())))


@dataclass(frozen=True)
class _Subject:
    """The feature that is audited, and its inputs."""

    feature: Feature
    bars: Bars
    context: Context

    def values(self, prices: InMemoryPrices) -> "_Values":
        """Return the feature over other rows of the same tickers."""
        listings = [listing for listing in self.bars.listings if len(prices.frames[listing.ticker])]
        rows = [prices.frames[listing.ticker].assign(ticker=listing.ticker) for listing in listings]
        bars = Bars(pd.concat(rows, ignore_index=True), tuple(listings), self.bars.returns_from)
        panel = build_panel(bars)
        try:
            values = build_features(panel, (self.feature,), bars.tickers, context=self.context)[..., 0]
        except TapecastError:
            raise
        except Exception as error:
            raise UsageError(
                f"the feature {self.feature.name} failed on valid bars with {type(error).__name__}: {error}; "
                "expected a value or NaN for each session"
            ) from error
        return _Values(panel.tickers, panel.sessions, values, panel.present)


@dataclass(frozen=True, eq=False)
class _Values:
    """Values [ticker, session] of a feature, and where a ticker has a bar."""

    tickers: tuple[str, ...]
    sessions: np.ndarray
    array: Floats32
    present: Booleans

    def of(self, ticker: str, until: np.datetime64) -> Floats32:
        """Return a ticker's values up to an origin, NaN where it has none."""
        early = self.array[:, self.sessions <= until]
        if ticker not in self.tickers:
            return np.full(early.shape[1], np.nan, dtype=np.float32)
        ticker_values: Floats32 = early[self.tickers.index(ticker)]
        return ticker_values


def _in_memory(bars: Bars) -> InMemoryPrices:
    rows_of: Mapping[str, pd.DataFrame] = {str(ticker): rows.drop(columns="ticker").reset_index(drop=True)
                                           for ticker, rows in bars.frame.groupby("ticker", sort=False)}  # fmt: skip
    return InMemoryPrices(rows_of, "as_traded", has_actions=True, returns_from=bars.returns_from, note="")


def _origins(subject: _Subject, count: int) -> Sequence[np.datetime64]:
    sessions = np.unique(days_of(subject.bars.frame))
    first, last = subject.feature.warm_up + 1, int(MAX_ORIGIN_SHARE * len(sessions)) - 1
    if count < 1 or first >= last:
        raise UsageError(
            f"found {len(sessions)} sessions and {count} origins, expected at least one origin after the warm-up of "
            f"{subject.feature.warm_up} and sessions after it; give more bars"
        )
    places: Indices = np.unique(np.linspace(first, last, count).astype(np.int64))
    return [sessions[place] for place in places]


def _leaks_at(subject: _Subject, prices: InMemoryPrices, origin: np.datetime64, seed: int) -> list[FeatureFault]:
    """Return the leaks that show at one origin."""
    cut = Cut(subject.bars.calendars[0], origin)
    original = subject.values(prices)
    faults = []
    for tampering in TAMPERINGS:
        change = _first_change(original, subject.values(tampered(prices, tampering, cut, seed)), original.tickers, cut)
        if change:
            faults.append(replace(change, what=_whose_bars(subject, prices, (cut, tampering, seed), change)))
    if not faults and (change := _first_change(original, subject.values(_cut(prices, cut)), original.tickers, cut)):
        faults.append(replace(change, what="its value changes where history ends at the origin"))
    return faults


def _whose_bars(
    subject: _Subject, prices: InMemoryPrices, replacement: tuple[Cut, Tampering, int], change: FeatureFault
) -> str:
    """Return whose later bars change a ticker's value: its own, or those of other tickers."""
    cut, tampering, seed = replacement
    all_tampered = tampered(prices, tampering, cut, seed)
    one_tampered = replace(prices, frames={**prices.frames, change.ticker: all_tampered.frames[change.ticker]})
    own_change = _first_change(subject.values(prices), subject.values(one_tampered), (change.ticker,), cut)
    return "it reads later bars" if own_change else "it reads later bars of other tickers"


def _cut(prices: InMemoryPrices, cut: Cut) -> InMemoryPrices:
    kept = {ticker: rows[days_of(rows) <= cut.origin] for ticker, rows in prices.frames.items()}
    return replace(prices, frames=kept)


def _first_change(original: _Values, changed: _Values, tickers: Sequence[str], cut: Cut) -> FeatureFault | None:
    """Return the first change of a value up to the origin among these tickers, with an empty `what`."""
    known = original.array[np.isfinite(original.array)]
    spread = float(known.std()) if len(known) else 0.0
    days = original.sessions[original.sessions <= cut.origin]
    for ticker in tickers:
        before, after = original.of(ticker, cut.origin), _aligned(changed, ticker, days)
        differs = ~np.isclose(before, after, rtol=TOLERANCE, atol=TOLERANCE * spread, equal_nan=True)
        if differs.any():
            at = int(differs.argmax())
            return FeatureFault("", ticker, str(days[at]), str(cut.origin), float(before[at]), float(after[at]))
    return None


def _aligned(values: _Values, ticker: str, days: np.ndarray) -> Floats32:
    """Return a ticker's values on these days, NaN where it has none."""
    result = np.full(len(days), np.nan, dtype=np.float32)
    if ticker in values.tickers:
        here = np.isin(days, values.sessions)
        row = values.array[values.tickers.index(ticker)]
        result[here] = row[np.searchsorted(values.sessions, days[here])]
    return result


def _warm_up_faults(subject: _Subject, prices: InMemoryPrices) -> list[FeatureFault]:
    """Return the fault of the first value missing after the declared warm-up; empty where none is missing."""
    original = subject.values(prices)
    for row, ticker in enumerate(original.tickers):
        ticker_values = original.array[row, original.present[row]]
        missing = np.flatnonzero(~np.isfinite(ticker_values[subject.feature.warm_up :]))
        if len(missing):
            day = original.sessions[original.present[row]][subject.feature.warm_up + missing[0]]
            what = f"it has no value after its declared warm-up of {subject.feature.warm_up} sessions"
            return [FeatureFault(what, ticker, str(day), "", np.nan, np.nan)]
    return []
