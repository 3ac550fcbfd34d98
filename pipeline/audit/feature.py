"""The audit of one feature of your own: does its value at a session change with anything that comes later?

from pipeline.audit.feature import audit_feature
verdict = audit_feature(Feature("momentum", 20, momentum), bars)
print(verdict.sentence)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from pipeline.arrays import Booleans, Floats32, Indices
from pipeline.audit.tampering import TAMPERINGS, Cut, Tampering, days_of, tampered, with_holes
from pipeline.dataset.abroad import ALONE, Surroundings
from pipeline.dataset.features import Feature, build_features
from pipeline.dataset.panel import build_panel
from pipeline.errors import TapecastError, UsageError
from pipeline.market.bars import Bars
from pipeline.market.held import HeldPrices

ROUNDING = 1e-6
"""Of the value and of the feature's spread: a smaller change is rounding, such as that of a filter by FFT."""

LATER_SHARE = 0.98
"""The last origin leaves this much of history before it, so that there is something later to replace."""


@dataclass(frozen=True)
class Fault:
    """One way in which a feature is not what it says, where it shows, and both values."""

    what: str
    ticker: str
    session: str
    origin: str
    before: float
    after: float

    def __str__(self) -> str:
        looked = f" looked at from {self.origin}" if self.origin else ""
        return f"{self.what} ({self.ticker} at {self.session}{looked}: {self.before:.6g} becomes {self.after:.6g})"


@dataclass(frozen=True)
class FeatureVerdict:
    """The result of the audit of one feature: its faults, none where it may be used."""

    feature: str
    origins: tuple[str, ...]
    faults: tuple[Fault, ...]

    @property
    def passed(self) -> bool:
        """True without any fault."""
        return not self.faults

    @property
    def sentence(self) -> str:
        """The verdict in words."""
        if self.faults:
            return f"`{self.feature}` must not be used: {'; '.join(map(str, self.faults))}."
        return (
            f"No leak found in `{self.feature}`: {len(self.origins)} origins x {len(TAMPERINGS)} tamperings, a cut "
            "history and its warm-up."
        )


def audit_feature(
    feature: Feature, bars: Bars, origins: int = 5, seed: int = 0, around: Surroundings = ALONE
) -> FeatureVerdict:
    """Return the verdict on a feature over checked bars of one calendar.

    Its values up to each of some origins, spread over the history, must not change when all later bars and actions are
    replaced (valid garbage, a shuffled copy) or are not there at all. Where they do, it is told whether the ticker's
    own later bars are read or those of others. And a value must stand at every session after the declared warm-up.
    At each origin one ticker has no bar, so that filling backwards shows. `around` is what a feature may read beside
    the bars; it is not replaced. Raises UsageError where the feature itself fails or the history is too short.
    """
    subject = _Subject(feature, bars, around)
    sessions = _origins(subject, origins)
    held = with_holes(_held(bars), sessions)
    looks = [_look(subject, held, origin, seed) for origin in sessions]
    found = [*_warm_up(subject, held), *(fault for faults in looks for fault in faults)]
    first = {fault.what: fault for fault in reversed(found)}
    return FeatureVerdict(feature.name, tuple(str(origin) for origin in sessions), tuple(reversed(first.values())))


@dataclass(frozen=True)
class _Subject:
    """The feature that is audited, and what it is computed on."""

    feature: Feature
    bars: Bars
    around: Surroundings

    def values(self, held: HeldPrices) -> "_Values":
        """Return the feature over other rows of the same tickers."""
        listed = [listing for listing in self.bars.listings if len(held.frames[listing.ticker])]
        rows = [held.frames[one.ticker].assign(ticker=one.ticker) for one in listed]
        bars = Bars(pd.concat(rows, ignore_index=True), tuple(listed), self.bars.returns_from)
        panel = build_panel(bars)
        try:
            values = build_features(panel, (self.feature,), bars.tickers, around=self.around)[..., 0]
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
    """Values [ticker, session] of a feature, and where there is a bar."""

    tickers: tuple[str, ...]
    sessions: np.ndarray
    array: Floats32
    present: Booleans

    def of(self, ticker: str, until: np.datetime64) -> Floats32:
        """Return a ticker's values up to an origin, NaN where it has none yet."""
        early = self.array[:, self.sessions <= until]
        if ticker not in self.tickers:
            return np.full(early.shape[1], np.nan, dtype=np.float32)
        own: Floats32 = early[self.tickers.index(ticker)]
        return own


def _held(bars: Bars) -> HeldPrices:
    own: Mapping[str, pd.DataFrame] = {str(ticker): rows.drop(columns="ticker").reset_index(drop=True)
                                       for ticker, rows in bars.frame.groupby("ticker", sort=False)}  # fmt: skip
    return HeldPrices(own, "as_traded", has_actions=True, returns_from=bars.returns_from, note="")


def _origins(subject: _Subject, count: int) -> Sequence[np.datetime64]:
    sessions = np.unique(days_of(subject.bars.frame))
    first, last = subject.feature.warm_up + 1, int(LATER_SHARE * len(sessions)) - 1
    if count < 1 or first >= last:
        raise UsageError(
            f"found {len(sessions)} sessions and {count} origins, expected at least one origin after the warm-up of "
            f"{subject.feature.warm_up} and sessions after it; give more bars"
        )
    places: Indices = np.unique(np.linspace(first, last, count).astype(np.int64))
    return [sessions[place] for place in places]


def _look(subject: _Subject, held: HeldPrices, origin: np.datetime64, seed: int) -> list[Fault]:
    """Return what is wrong when looked at from one origin."""
    cut = Cut(subject.bars.calendars[0], origin)
    whole = subject.values(held)
    faults = []
    for how in TAMPERINGS:
        changed = _change(whole, subject.values(tampered(held, how, cut, seed)), "", cut)
        if changed:
            faults.append(replace(changed, what=_whose(subject, held, (cut, how, seed), changed)))
    if not faults and (shorter := _change(whole, subject.values(_cut(held, cut)), "", cut)):
        faults.append(replace(shorter, what="its value is another one where history ends at the origin"))
    return faults


def _whose(subject: _Subject, held: HeldPrices, with_: tuple[Cut, Tampering, int], changed: Fault) -> str:
    """Return whose later bars change a ticker's value: its own, or those of others."""
    cut, how, seed = with_
    other = tampered(held, how, cut, seed)
    alone = replace(held, frames={**held.frames, changed.ticker: other.frames[changed.ticker]})
    own = _change(subject.values(held), subject.values(alone), changed.ticker, cut)
    return "it reads later bars" if own else "it reads later bars of other tickers"


def _cut(held: HeldPrices, cut: Cut) -> HeldPrices:
    kept = {ticker: rows[days_of(rows) <= cut.origin] for ticker, rows in held.frames.items()}
    return replace(held, frames=kept)


def _change(whole: _Values, other: _Values, of: str, cut: Cut) -> Fault | None:
    """Return the first change of a value up to the origin, of one ticker or of any."""
    known = whole.array[np.isfinite(whole.array)]
    spread = float(known.std()) if len(known) else 0.0
    days = whole.sessions[whole.sessions <= cut.origin]
    for ticker in (of,) if of else whole.tickers:
        one, two = whole.of(ticker, cut.origin), _aligned(other, ticker, days)
        differs = ~np.isclose(one, two, rtol=ROUNDING, atol=ROUNDING * spread, equal_nan=True)
        if differs.any():
            at = int(differs.argmax())
            return Fault("", ticker, str(days[at]), str(cut.origin), float(one[at]), float(two[at]))
    return None


def _aligned(values: _Values, ticker: str, days: np.ndarray) -> Floats32:
    """Return a ticker's values at these days, NaN where there is none."""
    result = np.full(len(days), np.nan, dtype=np.float32)
    if ticker in values.tickers:
        here = np.isin(days, values.sessions)
        row = values.array[values.tickers.index(ticker)]
        result[here] = row[np.searchsorted(values.sessions, days[here])]
    return result


def _warm_up(subject: _Subject, held: HeldPrices) -> list[Fault]:
    """Return the fault of a value that is missing at a session after the declared warm-up; none where there is none."""
    whole = subject.values(held)
    for row, ticker in enumerate(whole.tickers):
        own = whole.array[row, whole.present[row]]
        missing = np.flatnonzero(~np.isfinite(own[subject.feature.warm_up :]))
        if len(missing):
            day = whole.sessions[whole.present[row]][subject.feature.warm_up + missing[0]]
            what = f"it has no value after its declared warm-up of {subject.feature.warm_up} sessions"
            return [Fault(what, ticker, str(day), "", np.nan, np.nan)]
    return []
