"""Tampering: the rows of a source with everything after an origin replaced, by valid garbage or by a shuffled copy."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.dataset.covariates.exogenous import Given
from pipeline.dataset.covariates.known import target_sessions
from pipeline.errors import SourceError, TapecastError
from pipeline.market.bars import PRICES
from pipeline.market.calendars import calendar_of, closed_at, closing_instants, last_completed_session
from pipeline.market.canonical import FIELDS
from pipeline.market.door import rows_or_error
from pipeline.market.held import HeldPrices
from pipeline.market.session_dates import session_dates
from pipeline.market.source import Source

Tampering = Literal["garbage", "shuffled"]
TAMPERINGS: tuple[Tampering, ...] = ("garbage", "shuffled")

DAILY = 0.03
"""Scale of the garbage's daily log return: about twice that of most stocks."""

LARGEST_RETURN = 0.3
"""Of the garbage: a larger one could look like a split that nobody told, and the door would end the ticker there."""

Days = NDArray[np.datetime64]
Mask = NDArray[np.bool_]
Numbers = NDArray[np.float64]
Places = NDArray[np.intp]


@dataclass(frozen=True)
class Cut:
    """An origin of a calendar: rows up to it are kept, those of every session that closed later are replaced."""

    calendar: str
    origin: np.datetime64

    def last_kept(self, ticker: str) -> np.datetime64:
        """Return the last session of a ticker that was over when the origin's trading ended."""
        own = _calendar_or(ticker, self.calendar)
        if own == self.calendar:
            return self.origin
        return last_completed_session(own, closed_at(self.calendar, self.origin))


def _calendar_or(ticker: str, other: str) -> str:
    try:
        return calendar_of(ticker)
    except TapecastError:
        return other  # the door will leave it out


def held_copy(source: Source, tickers: Iterable[str]) -> HeldPrices:
    """Return the source's rows of the tickers, read once and kept; a ticker without any keeps its reason."""
    found = {ticker: rows_or_error(source, ticker) for ticker in tickers}
    return HeldPrices(
        frames={ticker: rows for ticker, rows in found.items() if isinstance(rows, pd.DataFrame)},
        price_basis=source.price_basis,
        has_actions=source.has_actions,
        returns_from=source.returns_from,
        note=source.note,
        refused={ticker: str(error) for ticker, error in found.items() if isinstance(error, SourceError)},
    )


def days_of(rows: pd.DataFrame) -> Days:
    """Return the day of each row as the door will read it, datetime64[D], NaT where none can be read."""
    if "session" not in rows:
        return np.full(len(rows), np.datetime64("NaT", "D"))
    return session_dates(rows["session"]).day.astype("datetime64[D]")


# --- Garbage and shuffled copies ---


def tampered(source: HeldPrices, how: Tampering, cut: Cut, seed: int) -> HeldPrices:
    """Return the source with every later bar and action replaced; what is kept is the very same.

    `garbage`: other valid bars that go on from the last close kept, with returns, ranges, volumes, dividends, splits,
    an adjusted close and gaps of their own. `shuffled`: the later sessions in another order, the same one for all
    tickers. Of every other ticker the prices go on from the last close kept; of the rest they jump, and the door may
    end their bars there: that, too, is later than the origin.
    """
    spoilt = _garbage if how == "garbage" else _shuffled
    return replace(source, frames=spoilt(source.frames, cut, seed))


def _garbage(frames: Mapping[str, pd.DataFrame], cut: Cut, seed: int) -> dict[str, pd.DataFrame]:
    spoilt = {}
    for number, (ticker, rows) in enumerate(frames.items()):
        draws = np.random.default_rng((seed, int(cut.origin.astype(np.int64)), number))
        spoilt[ticker] = garbage_rows(rows, days_of(rows) > cut.last_kept(ticker), draws)
    return spoilt


def garbage_rows(rows: pd.DataFrame, later: Mask, draws: np.random.Generator) -> pd.DataFrame:
    """Return one ticker's rows with other valid ones where `later`, and a few of them gone."""
    count = int(later.sum())
    if not count:
        return rows
    values = _valid_bars(_last(rows, "close", later, draws), _last(rows, "adj_close", later, draws), count, draws)
    spoilt = rows.assign(**{name: _replaced(rows[name], later, values[name]) for name in FIELDS if name in rows})
    gone = (draws.uniform(size=count) < draws.choice([0.0, 0.05])) & (values["split"] == 1.0)
    gone &= values["dividend"] == 0.0
    gone[[0, -1]] = False  # the origin's next session and the last one are always there
    kept = np.ones(len(rows), bool)
    kept[np.flatnonzero(later)[gone]] = False
    return spoilt[kept]


def _last(rows: pd.DataFrame, name: str, later: Mask, draws: np.random.Generator) -> float:
    """Return the last price before those replaced, or one of its own where there is none."""
    told = _numbers(rows[name])[~later] if name in rows else np.empty(0)
    told = told[np.isfinite(told) & (told > 0)]
    return float(told[-1]) if len(told) else float(draws.uniform(20.0, 200.0))


def _valid_bars(close: float, adjusted: float, count: int, draws: np.random.Generator) -> dict[str, Numbers]:
    """Return bars and actions that go on from a close: a total return is (close x split + dividend) / former close."""
    total = np.exp(np.clip(DAILY * draws.standard_t(4, count), -LARGEST_RETURN, LARGEST_RETURN))
    split = np.where(draws.uniform(size=count) < 1 / 250, draws.choice([2.0, 0.5, 3.0], count), 1.0)
    yields = np.where(draws.uniform(size=count) < 1 / 40, draws.uniform(0.005, 0.03, count), 0.0)
    closes = close * np.cumprod((total - yields) / split)
    opens = closes * np.exp(draws.normal(0, DAILY / 2, count))
    reach = np.exp(np.abs(draws.normal(0, DAILY, (2, count))))
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


def _replaced(column: pd.Series, where: Mask, values: Numbers) -> pd.Series:
    """Return the column with other values in some rows; whole numbers become decimal ones."""
    cells = column.to_numpy(np.float64 if column.dtype.kind in "iuf" else object, copy=True)
    cells[where] = values
    return pd.Series(cells, index=column.index)


def _shuffled(frames: Mapping[str, pd.DataFrame], cut: Cut, seed: int) -> dict[str, pd.DataFrame]:
    days = {ticker: days_of(rows) for ticker, rows in frames.items()}
    every = np.unique(np.concatenate([np.empty(0, "datetime64[D]"), *days.values()]))
    instant = int(cut.origin.astype(np.int64))
    # a day's place is the same for all tickers, so that a session stays together
    place = np.random.default_rng((seed, instant)).permutation(len(every))
    spoilt = {}
    for number, (ticker, rows) in enumerate(frames.items()):
        later = np.flatnonzero(days[ticker] > cut.last_kept(ticker))
        order = later[np.argsort(place[np.searchsorted(every, days[ticker][later])], kind="stable")]
        spoilt[ticker] = (_rebased if (number + instant) % 2 else _moved)(rows, later, order)
    return spoilt


def _moved(rows: pd.DataFrame, to: Places, source: Places) -> pd.DataFrame:
    """Return the rows with the numbers of some in the place of others; the days stay."""
    taken = np.arange(len(rows))
    taken[to] = source
    names = [name for name in FIELDS if name in rows]
    return rows.assign(**{name: rows[name].iloc[taken].set_axis(rows.index) for name in names})


def _rebased(rows: pd.DataFrame, to: Places, source: Places) -> pd.DataFrame:
    """Return the same, each price as large against the former close as it was, so that the prices go on."""
    if not len(to) or to[0] == 0:
        return _moved(rows, to, source)
    moved = _moved(rows, to, source)
    was, close = _numbers(rows["close"]), _numbers(moved["close"])
    step = close[to] / was[source - 1]
    level = was[to[0] - 1] * np.cumprod(np.where(np.isfinite(step) & (step > 0), step, 1.0))
    against = np.append(was[to[0] - 1], level[:-1]) / was[source - 1]  # new former close per old former close
    scaled = {name: _numbers(moved[name])[to] * against for name in (*PRICES, "dividend") if name in rows}
    if "adj_close" in rows:
        adjusted = _numbers(rows["adj_close"])
        ratio = adjusted[source] / adjusted[source - 1]
        scaled["adj_close"] = adjusted[to[0] - 1] * np.cumprod(np.where(np.isfinite(ratio) & (ratio > 0), ratio, 1.0))
    where = np.isin(np.arange(len(rows)), to)
    return moved.assign(**{name: _replaced(moved[name], where, values) for name, values in scaled.items()})


def _numbers(column: "pd.Series[float]") -> Numbers:
    return pd.to_numeric(column, errors="coerce").to_numpy(np.float64)


# --- Holes, and series of files ---


def with_holes(source: HeldPrices, sessions: Iterable[np.datetime64]) -> HeldPrices:
    """Return the source with one bar less at each session, of the tickers in turn: there a back-fill would show.

    A bar is taken out only where the ticker trades before and after it, and where neither it nor the next one acts.
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
    acts = [str(rows[name].iloc[k]) not in quiet for name, quiet in _NO_ACTION.items() if name in rows
            for k in (row, row + 1)]  # fmt: skip
    return None if any(acts) else row


_NO_ACTION = {"dividend": ("0.0", "0", "nan"), "split": ("1.0", "1", "0.0", "0", "nan")}


def tampered_given(given: Given, cut: Cut, horizons: int, seed: int) -> Given:
    """Return the files' series with other values wherever an origin could not yet know them.

    A series known afterwards is spoilt from the first second after the origin's close, one known in advance from the
    day after its last target.
    """
    draws = np.random.default_rng((seed, int(cut.origin.astype(np.int64)), 7))
    at = np.array([cut.origin])
    close, last = closing_instants(cut.calendar, at)[0], target_sessions(cut.calendar, at, horizons)[0, -1]
    past = [replace(one, values=_spoilt(one.values, one.known_from > close, draws)) for one in given.past]
    known = [replace(one, values=_spoilt(one.values, one.days > last, draws)) for one in given.known]
    return replace(given, past=tuple(past), known=tuple(known))


def _spoilt(values: Numbers, where: Mask, draws: np.random.Generator) -> Numbers:
    return np.where(where, values[draws.permutation(len(values))] * draws.uniform(-3, 3, len(values)), values)
