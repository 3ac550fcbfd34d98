"""Tables of calibration: the published bands with and without correction, side by side."""

from collections.abc import Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd

from pipeline.evaluation.comparisons import SIGNIFICANT
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.scores import POOLED
from pipeline.evaluation.trials import benjamini_hochberg
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED
from pipeline.reporting.labels import REGIME_LABELS
from pipeline.reporting.tables import NOTHING, Cell, Column, ReportTable, Row, report_table
from pipeline.wording import basis_points, p_value, percent, plus_minus, sessions_ahead

BAND = 80
MAX_HORIZONS = 10
HORIZON_COLUMNS = (
    *(Column(f"{band} % band", "coverage") for band in (50, 80, 90)),
    Column("Winkler score", "80 % band, × 10⁴"),
    Column("CRPS", "× 10⁴"),
    Column("Wrong coverage", "tickers, Kupiec"),
    Column("Wrong coverage or clustering", "tickers, Christoffersen"),
)


def with_and_without_correction(backtest: Backtest) -> tuple[str, ...]:
    """Return what is published without correction and, where its bands are corrected, with it."""
    return tuple(name for name in (backtest.base, CALIBRATED) if name in backtest.quantiles)


def last_scored(backtest: Backtest) -> int:
    """Return the last horizon with an outcome: a test range shorter than H sessions has none at the end."""
    scored = np.flatnonzero(backtest.scored.any(axis=(0, 1)))
    return int(scored[-1]) + 1 if len(scored) else 1


def horizons_listed(count: int) -> list[int]:
    """Return at most MAX_HORIZONS + 1 of the horizons 1 to `count`, the first and the last among them."""
    step = -(-count // MAX_HORIZONS)
    return sorted({*range(1, count + 1, step), count})


def calibration_by_horizon(evaluation: Evaluation) -> ReportTable:
    """Return coverage, Winkler score, CRPS and the share of tickers with a wrong coverage, by horizon."""
    listed = horizons_listed(evaluation.backtest.horizons)
    pooled = evaluation.scores[evaluation.scores["ticker"] == POOLED]
    scores = {(row["horizon"], row["forecaster"]): row for _, row in pooled.iterrows()}
    rows = [
        Row(
            sessions_ahead(horizon),
            (*_score_cells(scores[horizon, name]), *_rejected(evaluation.coverage_tests, horizon, name)),
            _correction(name),
            name == evaluation.verdict.model,
        )
        for horizon, name in product(listed, with_and_without_correction(evaluation.backtest))
    ]
    caption = "The published forecast without correction and, where there is one, with it; ± is one standard error"
    return report_table("Calibration by horizon", "Horizon", HORIZON_COLUMNS, rows, caption)


def _correction(name: str) -> str:
    return "corrected" if name == CALIBRATED else "without correction"


def _score_cells(row: "pd.Series[float]") -> tuple[Cell, ...]:
    bands = [
        Cell(percent(row[f"coverage_{band}"]), (plus_minus(row[f"coverage_{band}_error"], ".1f", 100),))
        for band in (50, 80, 90)
    ]
    sizes = [Cell(basis_points(row[n]), (plus_minus(row[f"{n}_error"], ".1f", 1e4),)) for n in ("winkler_80", "crps")]
    return (*bands, *sizes)


def _rejected(tests: pd.DataFrame, horizon: int, forecaster: str) -> tuple[Cell, ...]:
    selected = _tests_of(tests, horizon, forecaster)
    return tuple(_rejection_count(selected, name) for name in ("kupiec_p", "christoffersen_p"))


def _tests_of(tests: pd.DataFrame, horizon: int, forecaster: str) -> pd.DataFrame:
    if tests.empty:
        return tests
    return tests[(tests["horizon"] == horizon) & (tests["forecaster"] == forecaster) & (tests["band"] == BAND)]


def _rejection_count(tests: pd.DataFrame, name: str) -> Cell:
    """Return the number of tickers with a wrong coverage among those tested, after Benjamini and Hochberg."""
    if tests.empty or tests[name].isna().all():
        return NOTHING
    adjusted = benjamini_hochberg(tests[name].to_numpy(float))
    return Cell(f"{(adjusted <= SIGNIFICANT).sum()} of {tests[name].notna().sum()}")


def coverage_by_regime(evaluation: Evaluation, horizons: Sequence[int]) -> ReportTable:
    """Return the coverage of the 80 % band by regime of volatility, with and without correction."""
    rows = _coverage_rows(evaluation, "regime", horizons, REGIME_LABELS)
    by = "the ticker's volatility over its median of the last 250 sessions"
    caption = f"{BAND} % band: share of outcomes within it, by {by}"
    return report_table("Coverage by volatility", "Sessions", _coverage_columns(evaluation, horizons), rows, caption)


def coverage_by_ticker(evaluation: Evaluation, horizons: Sequence[int]) -> ReportTable:
    """Return the coverage of the 80 % band of every ticker, with and without correction, and the tests of the model."""
    model = evaluation.verdict.model
    tests = _tests_of(evaluation.coverage_tests, horizons[0], model)
    tested = {} if tests.empty else tests.set_index("ticker").to_dict("index")
    rows = [
        Row(row.name, (*row.cells, *_p_values(tested.get(row.name, {}))))
        for row in _coverage_rows(evaluation, "ticker", horizons, {})
    ]
    unit = f"{model}, {sessions_ahead(horizons[0])}"
    headings = ("Kupiec: wrong coverage", "misses cluster", "Christoffersen: either")
    columns = (*_coverage_columns(evaluation, horizons), *(Column(heading, unit) for heading in headings))
    return report_table("Coverage by ticker", "Ticker", columns, rows, f"{BAND} % band: share of outcomes within it")


def _p_values(test: dict[object, float]) -> tuple[Cell, ...]:
    names = ("kupiec_p", "independence_p", "christoffersen_p")
    return tuple(Cell(p_value(test[name])) if pd.notna(test.get(name)) else NOTHING for name in names)


def _coverage_columns(evaluation: Evaluation, horizons: Sequence[int]) -> tuple[Column, ...]:
    forecasters = with_and_without_correction(evaluation.backtest)
    columns = (Column(sessions_ahead(h), _correction(name)) for h in horizons for name in forecasters)
    return (Column("Forecasts"), *columns)


def _coverage_rows(evaluation: Evaluation, by: str, horizons: Sequence[int], labels: Mapping[str, str]) -> list[Row]:
    table = evaluation.coverage[evaluation.coverage["by"] == by]
    by_key = {(row["horizon"], row["forecaster"], row["group"]): row for row in table.to_dict("records")}
    columns = list(product(horizons, with_and_without_correction(evaluation.backtest)))
    rows = []
    for group in dict.fromkeys(map(str, table["group"])):
        groups = [by_key.get((horizon, name, group)) for horizon, name in columns]
        n_forecasts = max((int(row["rows"]) for row in groups if row), default=0)
        shares = [Cell(percent(row[f"coverage_{BAND}"])) if row else NOTHING for row in groups]
        rows.append(Row(labels[group] if labels else group, (Cell(f"{n_forecasts:,}"), *shares)))
    return rows
