"""Calibration as tables: the network's bands with and without correction, side by side."""

from collections.abc import Sequence
from itertools import product

import numpy as np
import pandas as pd

from pipeline.evaluation.comparisons import SIGNIFICANT
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.trials import benjamini_hochberg
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, NETWORK
from pipeline.reporting.tables import NOTHING, Cell, Column, Row, TableOf, table_of
from pipeline.wording import ahead, basis_points, p_value, percent, plus_minus

BAND = 80
MOST_HORIZONS = 10
REGIMES_IN_WORDS = {"calm": "calm", "middle": "middling", "turbulent": "turbulent"}
HORIZON_COLUMNS = (
    *(Column(f"{band} % band holds", "of outcomes") for band in (50, 80, 90)),
    Column("Winkler score", "80 % band, × 10⁴"),
    Column("CRPS", "× 10⁴"),
    Column("Share wrong", "tickers, Kupiec"),
    Column("Share or runs wrong", "tickers, Christoffersen"),
)


def corrected_or_not(backtest: Backtest) -> tuple[str, ...]:
    """Return the network and, where there is one, the network with its bands corrected."""
    return tuple(name for name in (NETWORK, CALIBRATED) if name in backtest.quantiles)


def last_scored(backtest: Backtest) -> int:
    """Return the last horizon with an outcome: a test shorter than H sessions has none at the end."""
    scored = np.flatnonzero(backtest.scored.any(axis=(0, 1)))
    return int(scored[-1]) + 1 if len(scored) else 1


def horizons_listed(count: int) -> list[int]:
    """Return all horizons, or some of many, the first and the last among them."""
    step = -(-count // MOST_HORIZONS)
    return sorted({*range(1, count + 1, step), count})


def calibration_by_horizon(evaluation: Evaluation) -> TableOf:
    """Return coverage, Winkler score, CRPS and the share of tickers with a wrong coverage, by horizon."""
    listed = horizons_listed(evaluation.backtest.horizons)
    pooled = evaluation.scores[evaluation.scores["ticker"] == POOLED]
    found = {(row["horizon"], row["forecaster"]): row for _, row in pooled.iterrows()}
    rows = [
        Row(
            ahead(horizon),
            (*_scores(found[horizon, name]), *_rejected(evaluation.coverage_tests, horizon, name)),
            _side(name),
            name == evaluation.verdict.model,
        )
        for horizon, name in product(listed, corrected_or_not(evaluation.backtest))
    ]
    caption = "Of the network as it speaks and, where it is corrected, as corrected; ± is one standard error"
    return table_of("Calibration by horizon", "Horizon", HORIZON_COLUMNS, rows, caption)


def _side(name: str) -> str:
    return "corrected" if name == CALIBRATED else "as it speaks"


def _scores(row: "pd.Series[float]") -> tuple[Cell, ...]:
    bands = [
        Cell(percent(row[f"coverage_{band}"]), (plus_minus(row[f"coverage_{band}_error"], ".1f", 100),))
        for band in (50, 80, 90)
    ]
    sizes = [Cell(basis_points(row[n]), (plus_minus(row[f"{n}_error"], ".1f", 1e4),)) for n in ("winkler_80", "crps")]
    return (*bands, *sizes)


def _rejected(tests: pd.DataFrame, horizon: int, forecaster: str) -> tuple[Cell, ...]:
    own = _of(tests, horizon, forecaster)
    return tuple(_count(own, name) for name in ("kupiec_p", "christoffersen_p"))


def _of(tests: pd.DataFrame, horizon: int, forecaster: str) -> pd.DataFrame:
    if tests.empty:
        return tests
    return tests[(tests["horizon"] == horizon) & (tests["forecaster"] == forecaster) & (tests["band"] == BAND)]


def _count(tests: pd.DataFrame, name: str) -> Cell:
    """Return of how many tested tickers the coverage is wrong, after Benjamini and Hochberg."""
    if tests.empty or tests[name].isna().all():
        return NOTHING
    adjusted = benjamini_hochberg(tests[name].to_numpy(float))
    return Cell(f"{(adjusted <= SIGNIFICANT).sum()} of {tests[name].notna().sum()}")


def coverage_by_regime(evaluation: Evaluation, horizons: Sequence[int]) -> TableOf:
    """Return the coverage of the 80 % band on calm, middling and turbulent sessions, with and without correction."""
    rows = _coverage_rows(evaluation, "regime", horizons, REGIMES_IN_WORDS)
    caption = f"{BAND} % band: share of outcomes within it, by how much the ticker moved over the 20 sessions before"
    return table_of("Coverage by volatility", "Sessions", _coverage_columns(evaluation, horizons), rows, caption)


def coverage_by_ticker(evaluation: Evaluation, horizons: Sequence[int]) -> TableOf:
    """Return the coverage of the 80 % band of every ticker, with and without correction, and the tests of the model."""
    model = evaluation.verdict.model
    tests = _of(evaluation.coverage_tests, horizons[0], model)
    tested = {} if tests.empty else tests.set_index("ticker").to_dict("index")
    rows = [
        Row(row.name, (*row.cells, *_p_values(tested.get(row.name, {}))))
        for row in _coverage_rows(evaluation, "ticker", horizons, {})
    ]
    of = f"{model}, {ahead(horizons[0])}"
    names = ("Kupiec: wrong share", "misses in a row", "Christoffersen: either")
    columns = (*_coverage_columns(evaluation, horizons), *(Column(name, of) for name in names))
    return table_of("Coverage by ticker", "Ticker", columns, rows, f"{BAND} % band: share of outcomes within it")


def _p_values(test: dict[object, float]) -> tuple[Cell, ...]:
    names = ("kupiec_p", "independence_p", "christoffersen_p")
    return tuple(Cell(p_value(test[name])) if pd.notna(test.get(name)) else NOTHING for name in names)


def _coverage_columns(evaluation: Evaluation, horizons: Sequence[int]) -> tuple[Column, ...]:
    sides = corrected_or_not(evaluation.backtest)
    return (Column("Forecasts"), *(Column(ahead(h), _side(name)) for h in horizons for name in sides))


def _coverage_rows(evaluation: Evaluation, by: str, horizons: Sequence[int], words: dict[str, str]) -> list[Row]:
    table = evaluation.coverage[evaluation.coverage["by"] == by]
    found = {(row["horizon"], row["forecaster"], row["group"]): row for row in table.to_dict("records")}
    sides = corrected_or_not(evaluation.backtest)
    rows = []
    for group in dict.fromkeys(map(str, table["group"])):
        own = [found.get((horizon, name, group)) for horizon in horizons for name in sides]
        most = max((int(row["rows"]) for row in own if row), default=0)
        shares = [Cell(percent(row[f"coverage_{BAND}"])) if row else NOTHING for row in own]
        rows.append(Row(words.get(group, group), (Cell(f"{most:,}"), *shares)))
    return rows
