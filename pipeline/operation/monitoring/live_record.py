"""The live record: skill, coverage and PIT over the last sessions, and the evidence of a sequential test."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.arrays import Floats
from pipeline.evaluation.calibration.measures import EDGES, REGIMES
from pipeline.evaluation.scores import BANDS
from pipeline.evaluation.session_record import PIT, PUBLISHED, REGIME_INSIDE, REGIME_ROWS
from pipeline.evaluation.significance.resampling import block_length, resampled_counts, skill_error_bar
from pipeline.evaluation.significance.sequential import e_rejected, interleaved_wealth

WINDOWS_SESSIONS = (60, 250)
LEVEL = 0.05
"""False discovery rate of the sequential test, over baselines and horizons."""


@dataclass(frozen=True, eq=False)
class LiveRecord:
    """What the record of a calendar came to; every table has `sessions`, how many were counted, and first and last.

    `skill`: window_sessions, horizon, baseline, skill, skill_error. `coverage`: window_sessions, horizon, band,
    coverage, coverage_error, rows. `regimes`: window_sessions, horizon, regime, coverage_80, rows. `pit`:
    window_sessions, horizon, low, high, expected, observed. `evidence`: horizon, baseline, and the e-values that the
    published forecast is `worse` and `better`, with whether e-BH rejects the opposite (`is_worse`, `is_better`).
    """

    skill: pd.DataFrame
    coverage: pd.DataFrame
    regimes: pd.DataFrame
    pit: pd.DataFrame
    evidence: pd.DataFrame


def live_record(
    record: pd.DataFrame, baselines: Sequence[str], windows_sessions: Sequence[int] = WINDOWS_SESSIONS
) -> LiveRecord:
    """Return what a record by session (evaluation.session_record) came to over its last sessions, and in evidence.

    A window is of the last sessions with an outcome at that horizon; a shorter record counts as it is.
    """
    parts = [
        (window, horizon, _last(of_horizon, window))
        for window in windows_sessions
        for horizon, of_horizon in _by_horizon(record)
    ]
    published = [(window, horizon, part[part["forecaster"] == PUBLISHED]) for window, horizon, part in parts]
    return LiveRecord(
        skill=_table(_skill(*part, name) for part in parts for name in baselines),
        coverage=_table(row for part in published for row in _coverage(*part)),
        regimes=_table(row for part in published for row in _regimes(*part)),
        pit=_table(row for part in published for row in _pit(*part)),
        evidence=evidence(record, baselines),
    )


def evidence(record: pd.DataFrame, baselines: Sequence[str]) -> pd.DataFrame:
    """Return the e-values of the whole record that the published forecast is worse, or better, than each baseline.

    A row per horizon and baseline. The null hypothesis of `worse` is that in no session the published forecast is
    expected to lose more than the baseline, given what was known when they were issued; of `better` that the baseline
    is not. Each family is adjusted over baselines and horizons by e-BH at LEVEL.
    """
    rows = [
        {"horizon": horizon, "baseline": name, **_e_values(of_horizon[of_horizon["forecaster"] == name], horizon)}
        for horizon, of_horizon in _by_horizon(record)
        for name in baselines
    ]
    table = _table(iter(rows))
    if table.empty:
        return table
    rejected = {f"is_{way}": e_rejected(table[way].to_numpy(), LEVEL) for way in ("worse", "better")}
    return table.assign(**rejected)


def _e_values(record: pd.DataFrame, horizon: int) -> dict[str, object]:
    """Return both e-values after the last session of a baseline's record at one horizon."""
    loss = (record["published_pinball"] - record["pinball"]).to_numpy()
    worse = interleaved_wealth(loss, record["least_loss"].to_numpy(), horizon)
    better = interleaved_wealth(-loss, record["least_gain"].to_numpy(), horizon)
    return {**_sessions_of(record), "worse": _last_or_one(worse), "better": _last_or_one(better)}


def _last_or_one(wealth: Floats) -> float:
    return float(wealth[-1]) if len(wealth) else 1.0


def _by_horizon(record: pd.DataFrame) -> list[tuple[int, pd.DataFrame]]:
    return [(horizon, record[record["horizon"] == horizon]) for horizon in np.unique(record["horizon"]).tolist()]


def _last(record: pd.DataFrame, window_sessions: int) -> pd.DataFrame:
    """Return the rows of the last sessions of a record."""
    sessions = np.unique(record["as_of"].to_numpy())
    counted: pd.DataFrame = record[record["as_of"] >= sessions[-window_sessions:][0]]
    return counted


def _sessions_of(record: pd.DataFrame) -> dict[str, object]:
    days = record["as_of"]
    first, last = (days.min(), days.max()) if len(record) else (pd.NaT, pd.NaT)
    return {"sessions": len(record), "first": first, "last": last}


def _table(rows: Iterator[dict[str, object]]) -> pd.DataFrame:
    return pd.DataFrame(list(rows))


def _skill(window_sessions: int, horizon: int, record: pd.DataFrame, baseline: str) -> dict[str, object]:
    """Return 1 - published loss / loss of a baseline, a session counting as one observation, with its error."""
    own = record[record["forecaster"] == baseline]
    skill, error = np.nan, np.nan
    if len(own) > 1:
        bar = skill_error_bar(own["published_pinball"].to_numpy(), own["pinball"].to_numpy(), _counts(own, horizon))
        skill, error = float(bar.estimate), float(bar.standard_error)
    found = {"window_sessions": window_sessions, "horizon": horizon, "baseline": baseline}
    return {**found, **_sessions_of(own), "skill": skill, "skill_error": error}


def _coverage(window_sessions: int, horizon: int, record: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Yield the share of rows within each band, with its error over sessions."""
    rows = record["rows"].to_numpy(np.float64)
    for band in BANDS:
        inside = record[f"inside_{band}"].to_numpy(np.float64)
        error = np.nan
        if len(record) > 1:  # 1 - inside / rows is a skill: both are drawn together
            error = float(skill_error_bar(inside, rows, _counts(record, horizon)).standard_error)
        found = {"window_sessions": window_sessions, "horizon": horizon, "band": band, **_sessions_of(record)}
        yield {**found, "rows": int(rows.sum()), "coverage": inside.sum() / rows.sum(), "coverage_error": error}


def _regimes(window_sessions: int, horizon: int, record: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Yield the share of rows within the 80 % band by fifth of relative volatility, of fifths that have any."""
    for name, rows, inside in zip(REGIMES, REGIME_ROWS, REGIME_INSIDE, strict=True):
        if count := int(record[rows].sum()):
            found = {"window_sessions": window_sessions, "horizon": horizon, "regime": name, **_sessions_of(record)}
            yield {**found, "rows": count, "coverage_80": int(record[inside].sum()) / count}


def _pit(window_sessions: int, horizon: int, record: pd.DataFrame) -> Iterator[dict[str, object]]:
    """Yield the PIT histogram: of each bin the share expected and observed."""
    counts = record[list(PIT)].sum().to_numpy(np.float64)
    observed = counts / counts.sum() if counts.sum() else np.full(len(counts), np.nan)
    for low, high, share in zip(EDGES[:-1], EDGES[1:], observed, strict=True):
        found = {"window_sessions": window_sessions, "horizon": horizon, **_sessions_of(record)}
        yield {**found, "low": low, "high": high, "expected": high - low, "observed": share}


def _counts(record: pd.DataFrame, horizon: int) -> Floats:
    return resampled_counts(len(record), block_length(len(record), horizon), 0)
