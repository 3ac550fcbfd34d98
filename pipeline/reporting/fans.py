"""Forecast fans: recent closes of a ticker, then the bands of its next sessions."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.arrays import Floats, Sessions
from pipeline.dataset.frames import Frames
from pipeline.evaluation.scores import BANDS
from pipeline.forecasters.forecaster import MEDIAN
from pipeline.forecasting.forecasts import QUANTILE_COLUMNS
from pipeline.operation.publication import published_rows
from pipeline.reporting.canvas import GREY, INK, NETWORK_COLOUR, blank_figure, drawable, plain_axes, write_title

FAN_SESSIONS = 60
FAN_SHARE = 0.5  # width of the forecast in widths of the history: at true scale five sessions could not be read
MAX_DATED_SESSIONS = 5
FANS_PER_ROW = 5
MAX_DIVIDEND = 0.08  # a close that differs this much (log) from its total return was split

SUBSTITUTION_COLOUR = "#9a4a00"
_BAND_COLOURS = {90: "#dbe7f6", 80: "#b3cbeb", 50: "#7fa6d8"}


@dataclass(frozen=True)
class Fan:
    """One ticker's recent closes and the published price quantiles; `substitution` names baselines shown, and where."""

    ticker: str
    currency: str
    sessions: Sessions  # [session], the last one is the origin
    closes: Floats  # [session], in shares of the origin
    targets: Sessions  # [horizon]
    prices: Floats  # [horizon, level]
    age_sessions: int
    substitution: str = ""


def fans(
    forecasts: pd.DataFrame, frames: Frames, currencies: Mapping[str, str], model: str | None = None
) -> Iterator[Fan]:
    """Yield the fan of every forecast ticker, in the table's order; it names baselines in place of `model`."""
    for ticker, rows in published_rows(forecasts).groupby("ticker", sort=False):
        yield _fan(rows.sort_values("horizon"), frames, currencies[str(ticker)], model)


def _fan(rows: pd.DataFrame, frames: Frames, currency: str, model: str | None) -> Fan:
    ticker = str(rows["ticker"].iloc[0])
    as_of = rows["as_of"].iloc[0].to_datetime64()
    sessions, closes = recent_closes(frames, ticker, as_of)
    return Fan(
        ticker=ticker,
        currency=currency,
        sessions=sessions,
        closes=closes,
        targets=rows["target_session"].to_numpy("datetime64[D]"),
        prices=rows[list(QUANTILE_COLUMNS)].to_numpy(),
        age_sessions=int(rows["age_sessions"].iloc[0]),
        substitution="" if model is None else _substitution(rows, model),
    )


def _substitution(rows: pd.DataFrame, model: str) -> str:
    """Return which baselines are shown in the model's place, and at which horizons."""
    forecasters = set(rows["forecaster"])
    if len(forecasters) == 1 and model not in forecasters:
        return f"baseline {forecasters.pop()} is shown"
    by_name = rows[rows["forecaster"] != model].groupby("forecaster", sort=False)["horizon"]
    parts = [f"baseline {name} at +{', +'.join(map(str, horizons))}" for name, horizons in by_name]
    return f"shown: {', '.join(parts)}" if parts else ""


def recent_closes(frames: Frames, ticker: str, as_of: np.datetime64) -> tuple[Sessions, Floats]:
    """Return the ticker's last sessions up to `as_of` and their closes, adjusted for splits."""
    row = frames.tickers.index(ticker)
    shown = np.flatnonzero(np.isfinite(frames.reference_close[row]) & (frames.sessions <= as_of))[-FAN_SESSIONS:]
    closes = frames.reference_close[row, shown]
    return frames.sessions[shown], _adjusted_for_splits(closes, frames.log_return[row, shown].astype(np.float64))


def _adjusted_for_splits(closes: Floats, log_return: Floats) -> Floats:
    """Return the closes in shares of the last session."""
    excess = np.nan_to_num(log_return[1:] - np.diff(np.log(closes)))
    split = np.where(np.abs(excess) > MAX_DIVIDEND, excess, 0.0)  # log of new shares per old
    later = np.append(np.cumsum(split[::-1])[::-1], 0.0)
    adjusted: Floats = closes * np.exp(-later)
    return adjusted


def draw_fan(fan: Fan) -> Figure:
    """Return the figure of one fan."""
    figure = blank_figure(5.6, 3.2)
    axes = plain_axes(figure, (0.13, 0.18, 0.83, 0.66 if fan.substitution else 0.72))
    draw_bands(axes, fan)
    axes.set_ylabel(f"{drawable(fan.currency)} per share", fontsize=8, parse_math=False)
    _date_ticks(axes, fan)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.09), ncols=5, fontsize=7, frameon=False, handlelength=1.2)
    write_title(
        axes,
        f"{drawable(fan.ticker)}: last close {fan.closes[-1]:,.2f} {fan.currency} on {fan.sessions[-1]}{_age(fan)}",
        pad=16 if fan.substitution else 6,
    )
    axes.text(0, 1.025, fan.substitution, transform=axes.transAxes, fontsize=8, color=SUBSTITUTION_COLOUR)
    return figure


def _age(fan: Fan) -> str:
    return f" ({fan.age_sessions:,} sessions old)" if fan.age_sessions else ""


def draw_sheet(sheet: Sequence[Fan]) -> Figure:
    """Return the figure of many small fans, without dates: each begins at its ticker's last close.

    A star marks a ticker with a baseline in the model's place.
    """
    rows = -(-len(sheet) // FANS_PER_ROW)
    figure = blank_figure(8.0, 1.5 * rows)
    for number, fan in enumerate(sheet):
        row, column = divmod(number, FANS_PER_ROW)
        left, bottom = (column + 0.24) / FANS_PER_ROW, 1 - (row + 0.9) / rows
        axes = plain_axes(figure, (left, bottom, 0.72 / FANS_PER_ROW, 0.7 / rows))
        draw_bands(axes, fan)
        axes.set_xticks([])
        axes.tick_params(labelsize=6.5)
        write_title(axes, drawable(fan.ticker) + (" *" if fan.substitution else ""), pad=2)
    return figure


def draw_bands(axes: Axes, fan: Fan) -> None:
    """Draw closes and bands on axes where a session of the forecast is wider than one of the past."""
    past = np.arange(len(fan.closes)) - len(fan.closes) + 1
    future = _forecast_positions(fan)
    origin = np.full((1, fan.prices.shape[1]), fan.closes[-1])
    prices = np.concatenate([origin, fan.prices])  # [0..horizon, level]
    for band in sorted(BANDS, reverse=True):
        low, high = BANDS[band]
        colour, label = _BAND_COLOURS[band], f"{band} %"
        axes.fill_between(future, prices[:, low], prices[:, high], color=colour, linewidth=0, label=label)
    axes.plot(
        future, prices[:, MEDIAN], color=NETWORK_COLOUR, linewidth=1.4, marker="o", markersize=2.5, label="median"
    )
    axes.plot(past, fan.closes, color=INK, linewidth=1.2, label="close")
    axes.axvline(0, color=GREY, linewidth=0.7, linestyle=":")
    axes.set_xlim(past[0] - 1, future[-1] * 1.06)


def _forecast_positions(fan: Fan) -> Floats:
    """Return the positions of the origin and of each target on the axis [0..horizon]."""
    count = len(fan.targets)
    step = max(1.0, FAN_SHARE * len(fan.closes) / count)
    return step * np.arange(count + 1, dtype=np.float64)


def _date_ticks(axes: Axes, fan: Fan) -> None:
    count = len(fan.closes)
    past = np.unique(np.linspace(0, count - 1, 4).astype(int)[:-1])
    horizons = np.unique(np.linspace(1, len(fan.targets), min(len(fan.targets), MAX_DATED_SESSIONS)).astype(int))
    places = [*(past - count + 1), *_forecast_positions(fan)[horizons]]
    axes.set_xticks(places, [*map(_day_and_month, fan.sessions[past]), *_target_dates(fan.targets[horizons - 1])])
    axes.tick_params(axis="x", labelsize=7)


def _target_dates(targets: Sessions) -> list[str]:
    """Return the dates with the month only where it changes, since five of them are close together."""
    months = targets.astype("datetime64[M]")
    return [
        _day_and_month(day) if k == 0 or months[k] != months[k - 1] else str(pd.Timestamp(day).day)
        for k, day in enumerate(targets)
    ]


def _day_and_month(day: np.datetime64) -> str:
    return f"{pd.Timestamp(day).day} {pd.Timestamp(day).month_name()[:3]}"
