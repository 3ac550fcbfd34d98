"""Tampering: the rows of a source with everything after an origin replaced, by valid garbage or by a shuffled copy."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from pipeline.arrays import Booleans, Floats, Indices, Sessions
from pipeline.dataset.covariates.from_files import FileCovariates
from pipeline.dataset.covariates.known_future import target_sessions
from pipeline.errors import SourceError, TapecastError
from pipeline.market.bars import FIELDS, PRICES, Listing
from pipeline.market.calendars import calendar_of, closed_at, closing_instants, last_completed_session
from pipeline.market.in_memory import InMemoryPrices
from pipeline.market.parsing import session_dates
from pipeline.market.sources import Source
from pipeline.market.validation.validate import rows_or_error

Tampering = Literal["garbage", "shuffled"]
TAMPERINGS: tuple[Tampering, ...] = ("garbage", "shuffled")

DAILY_SCALE = 0.03
"""Scale of the daily log returns of garbage: about twice that of most stocks."""

MAX_RETURN = 0.3
"""Largest daily log return of garbage: validation could take a larger one for an unreported split."""


@dataclass(frozen=True)
class Cut:
    """An origin of a calendar: rows up to it are kept, rows of every session that closed later are replaced.

    `listings` are those that the source names; others follow from the ticker's name.
    """

    calendar: str
    origin: np.datetime64
    listings: Mapping[str, Listing] = field(default_factory=dict)

    def last_kept(self, ticker: str) -> np.datetime64:
        """Return the last session of a ticker that had closed when the origin closed."""
        listing = self.listings.get(ticker)
        ticker_calendar = listing.calendar if listing else _calendar_or(ticker, self.calendar)
        if ticker_calendar == self.calendar:
            return self.origin
        return last_completed_session(ticker_calendar, closed_at(self.calendar, self.origin))


def _calendar_or(ticker: str, default: str) -> str:
    try:
        return calendar_of(ticker)
    except TapecastError:
        return default  # validation will exclude the ticker


def in_memory_copy(source: Source, tickers: Iterable[str]) -> InMemoryPrices:
    """Return a copy of the source's rows of the tickers, read once; a ticker without rows keeps its error."""
    loaded = {ticker: rows_or_error(source, ticker) for ticker in tickers}
    return InMemoryPrices(
        frames={ticker: rows for ticker, rows in loaded.items() if isinstance(rows, pd.DataFrame)},
        price_basis=source.price_basis,
        has_actions=source.has_actions,
        returns_from=source.returns_from,
        note=source.note,
        refused={ticker: str(error) for ticker, error in loaded.items() if isinstance(error, SourceError)},
    )


def days_of(rows: pd.DataFrame) -> Sessions:
    """Return the day of each row as validation will read it, datetime64[D], NaT where it cannot be read."""
    if "session" not in rows:
        return np.full(len(rows), np.datetime64("NaT", "D"))
    return session_dates(rows["session"]).day.astype("datetime64[D]")


# --- Garbage and shuffled copies ---


def tampered(source: InMemoryPrices, tampering: Tampering, cut: Cut, seed: int) -> InMemoryPrices:
    """Return the source with every later bar and action replaced; the rows up to the cut are unchanged.

    `garbage`: other valid bars that continue from the last close kept, with random returns, ranges, volumes, dividends,
    splits, adjusted closes and gaps. `shuffled`: the later sessions in another order, the same one for all tickers. Of
    every second ticker the prices continue from the last close kept; of the others they jump, and validation may end
    their bars there: that, too, is later than the origin.
    """
    replaced = _garbage if tampering == "garbage" else _shuffled
    return replace(source, frames=replaced(source.frames, cut, seed))


def _garbage(frames: Mapping[str, pd.DataFrame], cut: Cut, seed: int) -> dict[str, pd.DataFrame]:
    garbage = {}
    for number, (ticker, rows) in enumerate(frames.items()):
        draws = np.random.default_rng((seed, int(cut.origin.astype(np.int64)), number))
        garbage[ticker] = garbage_rows(rows, days_of(rows) > cut.last_kept(ticker), draws)
    return garbage


def garbage_rows(rows: pd.DataFrame, later: Booleans, draws: np.random.Generator) -> pd.DataFrame:
    """Return one ticker's rows with other valid ones where `later`, a few of them removed."""
    count = int(later.sum())
    if not count:
        return rows
    values = _valid_bars(_last(rows, "close", later, draws), _last(rows, "adj_close", later, draws), count, draws)
    garbage = rows.assign(**{name: _replaced(rows[name], later, values[name]) for name in FIELDS if name in rows})
    removed = (draws.uniform(size=count) < draws.choice([0.0, 0.05])) & (values["split"] == 1.0)
    removed &= values["dividend"] == 0.0
    removed[[0, -1]] = False  # the session after the origin and the last one are always kept
    kept = np.ones(len(rows), bool)
    kept[np.flatnonzero(later)[removed]] = False
    return garbage[kept]


def _last(rows: pd.DataFrame, name: str, later: Booleans, draws: np.random.Generator) -> float:
    """Return the last price before those replaced, or a random one where there is none."""
    prices = _numbers(rows[name])[~later] if name in rows else np.empty(0)
    prices = prices[np.isfinite(prices) & (prices > 0)]
    return float(prices[-1]) if len(prices) else float(draws.uniform(20.0, 200.0))


def _valid_bars(close: float, adjusted: float, count: int, draws: np.random.Generator) -> dict[str, Floats]:
    """Return bars and actions that continue from a close; total return = (close x split + dividend) / former close."""
    total = np.exp(np.clip(DAILY_SCALE * draws.standard_t(4, count), -MAX_RETURN, MAX_RETURN))
    split = np.where(draws.uniform(size=count) < 1 / 250, draws.choice([2.0, 0.5, 3.0], count), 1.0)
    yields = np.where(draws.uniform(size=count) < 1 / 40, draws.uniform(0.005, 0.03, count), 0.0)
    closes = close * np.cumprod((total - yields) / split)
    opens = closes * np.exp(draws.normal(0, DAILY_SCALE / 2, count))
    reach = np.exp(np.abs(draws.normal(0, DAILY_SCALE, (2, count))))
    return {
        "open": opens,
        "high": np.maximum(opens, closes) * reach[0],
        "low": np.minimum(opens, closes) / reach[1],
        "close": closes,
        "volume": np.round(np.exp(draws.normal(14, 1.5, count))),
        "adj_close": adjusted * np.cumprod(total),
        "dividend": yields * np.append(close, closes[:-1]),
        "split": split,
    }


def _replaced(column: pd.Series, where: Booleans, values: Floats) -> pd.Series:
    """Return the column with other values in some rows; integers become floats."""
    cells = column.to_numpy(np.float64 if column.dtype.kind in "iuf" else object, copy=True)
    cells[where] = values
    return pd.Series(cells, index=column.index)


def _shuffled(frames: Mapping[str, pd.DataFrame], cut: Cut, seed: int) -> dict[str, pd.DataFrame]:
    days = {ticker: days_of(rows) for ticker, rows in frames.items()}
    every = np.unique(np.concatenate([np.empty(0, "datetime64[D]"), *days.values()]))
    instant = int(cut.origin.astype(np.int64))
    # the permutation of days is the same for all tickers, so that a session stays together
    position = np.random.default_rng((seed, instant)).permutation(len(every))
    shuffled = {}
    for number, (ticker, rows) in enumerate(frames.items()):
        later = np.flatnonzero(days[ticker] > cut.last_kept(ticker))
        order = later[np.argsort(position[np.searchsorted(every, days[ticker][later])], kind="stable")]
        shuffled[ticker] = (_rebased if (number + instant) % 2 else _moved)(rows, later, order)
    return shuffled


def _moved(rows: pd.DataFrame, to: Indices, source: Indices) -> pd.DataFrame:
    """Return the rows with the values of rows `source` at rows `to`; the days stay."""
    taken = np.arange(len(rows))
    taken[to] = source
    names = [name for name in FIELDS if name in rows]
    return rows.assign(**{name: rows[name].iloc[taken].set_axis(rows.index) for name in names})


def _rebased(rows: pd.DataFrame, to: Indices, source: Indices) -> pd.DataFrame:
    """Return the same with each price's ratio to the former close kept, so that the prices continue without a jump."""
    if not len(to) or to[0] == 0:
        return _moved(rows, to, source)
    moved = _moved(rows, to, source)
    old_close, close = _numbers(rows["close"]), _numbers(moved["close"])
    step = close[to] / old_close[source - 1]
    level = old_close[to[0] - 1] * np.cumprod(np.where(np.isfinite(step) & (step > 0), step, 1.0))
    scale = np.append(old_close[to[0] - 1], level[:-1]) / old_close[source - 1]  # new former close per old former close
    scaled = {name: _numbers(moved[name])[to] * scale for name in (*PRICES, "dividend") if name in rows}
    if "adj_close" in rows:
        adjusted = _numbers(rows["adj_close"])
        ratio = adjusted[source] / adjusted[source - 1]
        scaled["adj_close"] = adjusted[to[0] - 1] * np.cumprod(np.where(np.isfinite(ratio) & (ratio > 0), ratio, 1.0))
    where = np.isin(np.arange(len(rows)), to)
    return moved.assign(**{name: _replaced(moved[name], where, values) for name, values in scaled.items()})


def _numbers(column: "pd.Series[float]") -> Floats:
    return pd.to_numeric(column, errors="coerce").to_numpy(np.float64)


# --- Holes, and covariates from files ---


def with_holes(source: InMemoryPrices, sessions: Iterable[np.datetime64]) -> InMemoryPrices:
    """Return the source with one bar removed at each session, of the tickers in turn, so that back-filling shows.

    A bar is removed only where the ticker trades before and after it, and where neither it nor the next bar has a
    dividend or split.
    """
    frames = dict(source.frames)
    for turn, session in enumerate(sessions):
        names = sorted(frames)
        for ticker in [*names[turn % len(names) :], *names[: turn % len(names)]]:
            row = _removable(frames[ticker], session)
            if row is not None:
                frames[ticker] = frames[ticker].drop(index=frames[ticker].index[row])
                break
    return replace(source, frames=frames)


def _removable(rows: pd.DataFrame, session: np.datetime64) -> int | None:
    at = np.flatnonzero(days_of(rows) == session)
    if len(at) != 1 or not 0 < at[0] < len(rows) - 1 or rows.index.has_duplicates:
        return None
    row = int(at[0])
    has_action = [str(rows[name].iloc[k]) not in no_action for name, no_action in _NO_ACTION.items() if name in rows
                  for k in (row, row + 1)]  # fmt: skip
    return None if any(has_action) else row


_NO_ACTION = {"dividend": ("0.0", "0", "nan"), "split": ("1.0", "1", "0.0", "0", "nan")}


def tampered_covariates(covariates: FileCovariates, cut: Cut, horizons: int, seed: int) -> FileCovariates:
    """Return the covariates from files with other values wherever they were not known at the origin.

    Past covariates are replaced from the first second after the origin's close, known-future covariates from the day
    after the origin's last target session.
    """
    draws = np.random.default_rng((seed, int(cut.origin.astype(np.int64)), 7))
    at = np.array([cut.origin])
    close, last = closing_instants(cut.calendar, at)[0], target_sessions(cut.calendar, at, horizons)[0, -1]
    past = [
        replace(covariate, values=_other_values(covariate.values, covariate.known_from > close, draws))
        for covariate in covariates.past
    ]
    known = [
        replace(covariate, values=_other_values(covariate.values, covariate.days > last, draws))
        for covariate in covariates.known_future
    ]
    return replace(covariates, past=tuple(past), known_future=tuple(known))


def _other_values(values: Floats, where: Booleans, draws: np.random.Generator) -> Floats:
    return np.where(where, values[draws.permutation(len(values))] * draws.uniform(-3, 3, len(values)), values)
