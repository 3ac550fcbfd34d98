"""The simulation: every forecaster under every trading rule, and passive portfolios, at the same opens and costs."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
import pandas as pd

from pipeline.arrays import Booleans, Floats, Indices, Sessions
from pipeline.errors import UsageError
from pipeline.evaluation.money.account import GONE_SESSIONS, Account, Fills, Opens, last_seen, run_account
from pipeline.evaluation.money.performance import Performance, performance_of
from pipeline.evaluation.money.positions import (
    DECISIONS,
    PASSIVE,
    buy_and_hold,
    equal_weight,
    median_of,
    yearly_volatility,
)
from pipeline.evaluation.specification import MoneySpec
from pipeline.forecasting.backtest import Backtest


@dataclass(frozen=True)
class MoneyResult:
    """The simulated trading of one forecaster under one rule, or of one passive portfolio."""

    forecaster: str
    rule: str
    performance: Performance
    equity: Floats  # [period + 1], at the fills
    net_return: Floats  # [period]


@dataclass(frozen=True)
class Money:
    """The simulated trading of a backtest; `opened` are the sessions whose opens filled orders, and the last one."""

    spec: MoneySpec
    opened: Sessions  # [period + 1]
    results: tuple[MoneyResult, ...]
    caveats: tuple[str, ...]


def simulate(
    backtest: Backtest, opens: Opens, spec: MoneySpec, trials: int, trials_variance: float | None = None
) -> Money:
    """Return the simulated trading of the backtest's forecasters, over all origins whose next two opens are known.

    A weight decided at the close of an origin is filled at the next session's open and held to the one after it. Where
    a ticker has no bar, its latest forecast stays in use until it is `gone`; where it has one and no forecast, it is
    not held. `trials` is the number of specifications tried: each could be judged by the best of its rules, so that
    Sharpe ratios are deflated by trials x rules; `trials_variance` as in deflated_sharpe. Raises UsageError where the
    horizon is not forecast or a ticker or session of the backtest is not among the opens.
    """
    span = _span(backtest, opens, spec)
    orders = _orders(backtest, span, spec)
    account = run_account(np.stack(list(orders.values()), axis=1), span.fills, spec)
    counts = [1 if forecaster == PASSIVE else trials * len(spec.rules) for forecaster, _ in orders]
    results = tuple(
        MoneyResult(
            *name,
            performance_of(account, row, span.opened, counts[row], trials_variance),
            account.equity[row],
            account.net_return[row],
        )
        for row, name in enumerate(orders)
    )
    return Money(spec, span.opened, results, _caveats(account, backtest.tickers))


def money_table(money: Money) -> pd.DataFrame:
    """Return one row per forecaster and rule, the passive portfolios last, a column per figure of Performance."""
    return pd.DataFrame(
        [
            {"forecaster": result.forecaster, "rule": result.rule, **asdict(result.performance)}
            for result in money.results
        ]
    )


@dataclass(frozen=True)
class _Span:
    """The sessions that are simulated: closes at which weights are decided, and the fills that follow them."""

    place: Indices  # [origin], each origin of the backtest as a row of closes; beyond the last for those not filled
    latest: Indices  # [period, ticker], the close whose forecast is in use, -1 where none is
    fills: Fills
    opened: Sessions


def _span(backtest: Backtest, opens: Opens, spec: MoneySpec) -> _Span:
    if spec.horizon > backtest.horizons:
        raise UsageError(
            f"found horizon {spec.horizon} for money, expected at most {backtest.horizons}, the horizons that are "
            "forecast; give a smaller one"
        )
    rows, place = _rows_of(backtest, opens), _place_of(backtest, opens)
    first = int(place[0])
    periods = max(0, min(int(place[-1]), len(opens.sessions) - 3) - first + 1)
    seen = last_seen(opens.tradable[rows, first : first + periods]).T
    return _Span(
        place=place - first,
        latest=np.where(opens.gone[rows, first : first + periods].T, -1, seen),
        fills=_fills(opens, rows, slice(first + 1, first + periods + 1)),
        opened=opens.sessions[first + 1 : first + periods + 2],
    )


def _fills(opens: Opens, rows: Indices, sessions: slice) -> Fills:
    return Fills(
        tradable=np.ascontiguousarray(opens.tradable[rows, sessions].T),
        gone=np.ascontiguousarray(opens.gone[rows, sessions].T),
        growth=np.ascontiguousarray(opens.growth[rows, sessions].T),
    )


def _rows_of(backtest: Backtest, opens: Opens) -> Indices:
    row = {ticker: at for at, ticker in enumerate(opens.tickers)}
    missing = [ticker for ticker in backtest.tickers if ticker not in row]
    if missing:
        raise UsageError(f"found no opens of {', '.join(missing)}, expected those of every ticker of the backtest")
    return np.array([row[ticker] for ticker in backtest.tickers], dtype=np.int64)


def _place_of(backtest: Backtest, opens: Opens) -> Indices:
    place: Indices = np.searchsorted(opens.sessions, backtest.sessions)
    known = place < len(opens.sessions)
    if not known.all() or (opens.sessions[place] != backtest.sessions).any():
        raise UsageError(
            f"found opens from {opens.sessions[0]} to {opens.sessions[-1]}, expected every session of the backtest, "
            f"{backtest.sessions[0]} to {backtest.sessions[-1]}; give the opens of the panel that it was built from"
        )
    return place


def _orders(backtest: Backtest, span: _Span, spec: MoneySpec) -> Mapping[tuple[str, str], Floats]:
    """Return weights [period, ticker] by forecaster and rule, then those of the passive portfolios."""
    orders: dict[tuple[str, str], Floats] = {}
    forecast: Booleans = np.zeros(span.latest.shape, dtype=bool)
    for name, quantiles in backtest.quantiles.items():
        at_horizon = quantiles[:, :, spec.horizon - 1]  # [ticker, origin, level]
        median = _in_use(median_of(at_horizon), span)
        volatility = _in_use(yearly_volatility(at_horizon, spec.horizon), span)
        forecast |= np.isfinite(median)
        orders |= {(name, rule): DECISIONS[rule](median, volatility, spec) for rule in spec.rules}
    orders[PASSIVE, "buy_and_hold"] = buy_and_hold(forecast, span.fills.tradable)
    orders[PASSIVE, "equal_weight"] = equal_weight(forecast)
    return orders


def _in_use(values: Floats, span: _Span) -> Floats:
    """Return values [ticker, origin] as [period, ticker]: of the latest close with a bar, NaN between folds."""
    periods, tickers = span.latest.shape
    placed = np.full((periods + 1, tickers), np.nan)  # the last row is NaN: where -1 points to
    filled = span.place < periods
    placed[span.place[filled]] = values[:, filled].T
    return np.take_along_axis(placed, span.latest, axis=0)


def _caveats(account: Account, tickers: tuple[str, ...]) -> tuple[str, ...]:
    sentences = [
        "Every order is filled in full at the official opening price, however large: there is no market impact beyond "
        "the stated slippage, and any share can be borrowed."
    ]
    delisted = [ticker for ticker, gone in zip(tickers, account.delisted, strict=True) if gone]
    if delisted:
        sentences.append(
            f"Held until its bars ended, and closed at the last close after {GONE_SESSIONS} sessions without one: "
            f"{', '.join(delisted)}. Holders through a real delisting often got less (Shumway 1997)."
        )
    return tuple(sentences)
