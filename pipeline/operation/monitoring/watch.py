"""What a model version is watched with, made once from its backtest's record, and what is observed of it on a day."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from pipeline.arrays import Floats
from pipeline.evaluation.session_record import PUBLISHED
from pipeline.operation.monitoring.coverage_drift import (
    WATCHED_BANDS,
    CoverageReference,
    coverage_drift,
    coverage_reference,
)
from pipeline.operation.monitoring.live_record import evidence
from pipeline.operation.monitoring.loss_drift import LossReference, loss_drift, loss_reference
from pipeline.operation.monitoring.policy import LossSignal
from pipeline.wording import percent, sessions_ahead

WATCHED_HORIZON = 1
"""Outcomes of longer horizons come later and overlap: the sequential test reads them, the cumulative sum does not."""


@dataclass(frozen=True)
class Watch:
    """The references of a version: its loss against the best simple baseline of its backtest, and its coverage."""

    baseline: str
    loss: LossReference
    coverage: CoverageReference


def watch_of(promise: pd.DataFrame, baselines: Sequence[str]) -> Watch:
    """Return what a version with this record of its backtest (evaluation.session_record) is watched with."""
    record = promise[promise["horizon"] == WATCHED_HORIZON]
    means = record.groupby("forecaster")["pinball"].mean()
    baseline = str(means[[name for name in baselines if name in means]].idxmin())
    return Watch(
        baseline,
        loss_reference(loss_ratios(record, baseline), WATCHED_HORIZON),
        coverage_reference(coverage_of(record), WATCHED_HORIZON),
    )


def loss_ratios(record: pd.DataFrame, baseline: str) -> Floats:
    """Return the logarithm of the published loss over a baseline's [session], of a record at one horizon.

    The ratio, and not the difference: that grows with the volatility, which is no fault of a forecast.
    """
    of_baseline = record[record["forecaster"] == baseline]
    published, own = (of_baseline[name].to_numpy(np.float64) for name in ("published_pinball", "pinball"))
    ratios: Floats = np.log(published / own)
    return ratios


def coverage_of(record: pd.DataFrame) -> Floats:
    """Return the share of tickers within each watched band [band, session], of a record at one horizon."""
    published = record[record["forecaster"] == PUBLISHED]
    shares = [(published[f"inside_{band}"] / published["rows"]).to_numpy(np.float64) for band in WATCHED_BANDS]
    return np.array(shares).reshape(len(WATCHED_BANDS), len(published))


def loss_signal(watch: Watch, record: pd.DataFrame, baselines: Sequence[str]) -> LossSignal:
    """Return whether the loss is larger than promised, by the record since the version began to forecast."""
    state = loss_drift(loss_ratios(_at_watched(record), watch.baseline), watch.loss).state
    table = evidence(record, baselines)
    worse = table[table["is_worse"]] if len(table) else table
    return LossSignal(
        alarm_sessions=None if state.alarm_since < 0 else state.sessions - state.alarm_since,
        rising_sessions=None if state.alarm_since < 0 else state.sessions - state.rising_since,
        worse_than=tuple(f"{row['baseline']} {sessions_ahead(row['horizon'])}" for row in worse.to_dict("records")),
    )


def coverage_sentence(watch: Watch, record: pd.DataFrame) -> str:
    """Return what is wrong with the bands lately, empty where nothing is."""
    drifts = coverage_drift(coverage_of(_at_watched(record)), watch.coverage)
    parts = [
        f"the {it.band} % band is {it.status}: it held {percent(it.coverage)} of outcomes in the last "
        f"{watch.coverage.window_sessions} sessions, {percent(it.reference)} in the backtest"
        for it in drifts
        if it.status in ("too narrow", "too wide")
    ]
    return "; ".join(parts)


def _at_watched(record: pd.DataFrame) -> pd.DataFrame:
    at_horizon: pd.DataFrame = record[record["horizon"] == WATCHED_HORIZON]
    return at_horizon
