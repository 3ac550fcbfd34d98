"""Rows of the daily page, one per ticker: the next sessions, what changed since yesterday, what was said and came."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from pipeline.evaluation.direction import rise_probability
from pipeline.evaluation.scores import BANDS
from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.wording import day

BAND = 80
"""The band that is shown for every session, and that a close is a hit within."""
Outcome = Literal["hit", "above", "below", "not known"]


@dataclass(frozen=True)
class SessionForecast:
    """What is forecast of one session: price quantiles at LEVELS, and the probability of a close above the last one."""

    horizon: int
    target_session: str
    forecaster: str
    quantiles: tuple[float, ...]
    rise_probability: float

    @property
    def median(self) -> float:
        """The median."""
        return self.quantiles[len(self.quantiles) // 2]

    def band(self, percent: int) -> tuple[float, float]:
        """Return the lower and upper price of a central band."""
        low, high = BANDS[percent]
        return self.quantiles[low], self.quantiles[high]


@dataclass(frozen=True)
class PastForecast:
    """What was last said for the latest session before it opened, and what came.

    `low` and `high` bound its 80 % band. All are on the scale of the close that it was made from; `actual` is None
    where no bar of the session has come.
    """

    as_of: str
    horizon: int
    target_session: str
    low: float
    median: float
    high: float
    actual: float | None

    @property
    def outcome(self) -> Outcome:
        """Where the close lay: a hit within the band, its edges included."""
        if self.actual is None:
            return "not known"
        if self.low <= self.actual <= self.high:
            return "hit"
        return "above" if self.actual > self.high else "below"

    @property
    def miss(self) -> float | None:
        """How far the close lay beyond the band as a share of the median, zero for a hit; None where none came."""
        if self.actual is None:
            return None
        return max(self.low - self.actual, self.actual - self.high, 0.0) / self.median


@dataclass(frozen=True)
class BandChange:
    """How the next session's forecast differs from the one of a session ago, as shares.

    `median` is that of the medians on one scale, so that a split is no change; `width` that of the widths of the 80 %
    band, each as a share of its last close.
    """

    median: float
    width: float


@dataclass(frozen=True)
class TickerRow:
    """One ticker's day; `seen` is False where the model was not trained on it."""

    ticker: str
    calendar: str
    currency: str
    as_of: str
    age_sessions: int
    reference_close: float
    seen: bool
    sessions: tuple[SessionForecast, ...]  # by horizon
    past: PastForecast | None
    change: BandChange | None

    @property
    def relative_width(self) -> float:
        """The width of the next session's 80 % band as a share of the last close."""
        low, high = self.sessions[0].band(BAND)
        return (high - low) / self.reference_close


@dataclass(frozen=True)
class TickerFacts:
    """What the rows of a calendar have in common, and of which tickers the model has no training."""

    calendar: str
    origin: str  # its latest completed session
    currencies: Mapping[str, str]
    unseen: tuple[str, ...] = ()


def ticker_rows(
    forecasts: Iterable[Mapping[str, Any]], earlier: pd.DataFrame, facts: TickerFacts
) -> tuple[TickerRow, ...]:
    """Return a row per ticker of a calendar's published forecasts (rows of summaries.FORECAST_NAMES), in their order.

    `earlier` are rows of the ledger in prices with `actual` (operation.ledger.reading.exported) of origins before.
    """
    by_ticker: dict[str, list[Mapping[str, Any]]] = {}
    for row in forecasts:
        by_ticker.setdefault(row["ticker"], []).append(row)
    past = past_forecasts(earlier, facts.origin)
    return tuple(_row(rows, past.get(ticker), facts) for ticker, rows in by_ticker.items())


def past_forecasts(earlier: pd.DataFrame, session: str) -> dict[str, "pd.Series[Any]"]:
    """Return by ticker the published row of the newest origin that was issued on time for a session."""
    for_session = (earlier["target_session"] == pd.Timestamp(session)) & earlier["published"].astype(bool)
    rows = earlier[for_session & (earlier["status"] == "on time")].sort_values("as_of", kind="stable")
    newest = rows.drop_duplicates("ticker", keep="last")
    return {str(row["ticker"]): row for _, row in newest.iterrows()}


def _row(rows: Sequence[Mapping[str, Any]], past: "pd.Series[Any] | None", facts: TickerFacts) -> TickerRow:
    first = rows[0]
    sessions = tuple(sorted(map(_session, rows), key=lambda it: it.horizon))
    fresh = past is not None and int(past["horizon"]) == sessions[0].horizon and first["as_of"] == facts.origin
    return TickerRow(
        ticker=first["ticker"],
        calendar=facts.calendar,
        currency=facts.currencies.get(first["ticker"], ""),
        as_of=day(first["as_of"]),
        age_sessions=int(first["age_sessions"]),
        reference_close=float(first["reference_close"]),
        seen=first["ticker"] not in facts.unseen,
        sessions=sessions,
        past=None if past is None else _past(past),
        change=_change(sessions[0], float(first["reference_close"]), past) if past is not None and fresh else None,
    )


def _session(row: Mapping[str, Any]) -> SessionForecast:
    quantiles = tuple(float(row[name]) for name in QUANTILE_COLUMNS)
    probability = rise_probability(quantiles, float(row["reference_close"]))
    return SessionForecast(int(row["horizon"]), day(row["target_session"]), row["forecaster"], quantiles, probability)


def _past(row: "pd.Series[Any]") -> PastForecast:
    return PastForecast(
        as_of=day(row["as_of"]),
        horizon=int(row["horizon"]),
        target_session=day(row["target_session"]),
        low=float(row["q10"]),
        median=float(row["q50"]),
        high=float(row["q90"]),
        actual=None if pd.isna(row["actual"]) else float(row["actual"]),
    )


def _change(session: SessionForecast, close: float, past: "pd.Series[Any]") -> BandChange | None:
    """Return the change of the next session's forecast since the one made a session before; None without its close."""
    if pd.isna(past["actual"]):
        return None
    low, high = session.band(BAND)
    before = float(past["q50"] / past["actual"]), float((past["q90"] - past["q10"]) / past["reference_close"])
    if before[1] <= 0:
        return None
    return BandChange(session.median / close / before[0] - 1, (high - low) / close / before[1] - 1)


@dataclass(frozen=True)
class HitCount:
    """How many closes lay within their 80 % band, of how many that came."""

    hits: int
    known: int

    @property
    def share(self) -> float:
        """The share of hits, NaN where no close came."""
        return self.hits / self.known if self.known else float("nan")


def hit_count(rows: Iterable[TickerRow]) -> HitCount:
    """Return the count over all tickers of what was said for the latest session."""
    outcomes = [row.past.outcome for row in rows if row.past and row.past.outcome != "not known"]
    return HitCount(outcomes.count("hit"), len(outcomes))
