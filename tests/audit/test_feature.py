"""The audit of a custom feature function."""

import numpy as np
import pandas as pd
import pytest
from scipy.signal import fftconvolve

from pipeline.audit.feature import audit_feature
from pipeline.dataset.context import Context
from pipeline.dataset.features import FEATURES, Feature
from pipeline.dataset.panel import Panel
from pipeline.dataset.ticker_features import TickerSeries
from pipeline.errors import UsageError
from pipeline.market.bars import Bars
from tests.audit.leaks import centred_mean
from tests.panels import bars_of, random_market


def bars() -> Bars:
    return bars_of(random_market(300, 4), minimum_sessions=20)


def momentum(series: TickerSeries) -> np.ndarray:
    return pd.Series(series.close).pct_change(20).to_numpy()


def smoothed_by_fft(series: TickerSeries) -> np.ndarray:
    """A mean of the last ten returns by a transform of the whole series: no leak but rounding."""
    returns = np.nan_to_num(series.log_return)
    return fftconvolve(returns, np.ones(10) / 10)[: len(returns)]


def filled(series: TickerSeries) -> np.ndarray:
    gaps = pd.Series(series.volume).where(np.arange(len(series.volume)) % 7 != 3)
    return np.log1p(gaps.bfill().fillna(0.0).to_numpy())


def rank_in_history(series: TickerSeries) -> np.ndarray:
    return pd.Series(series.close).rank(pct=True).to_numpy()


def standardised(series: TickerSeries) -> np.ndarray:
    returns = np.nan_to_num(series.log_return)
    return (returns - returns.mean()) / returns.std()


def share_of_history(series: TickerSeries) -> np.ndarray:
    """The share of the history before a session: it reads no prices, but the length of the history."""
    return np.arange(len(series.close)) / len(series.close)


def next_mean_of_all(panel: Panel, context: Context) -> np.ndarray:
    mean = np.nanmean(np.where(panel.present, np.nan_to_num(panel.log_return), np.nan), axis=0)
    return np.append(mean[1:], 0.0)


def next_of_the_first(panel: Panel, context: Context) -> np.ndarray:
    return np.append(np.nan_to_num(panel.log_return[0, 1:]), 0.0)


def zeros(series: TickerSeries) -> np.ndarray:
    return np.zeros(len(series.close))


CLEAN = (
    Feature("momentum", 20, momentum),
    Feature("smoothed", 10, smoothed_by_fft),
    *(one for one in FEATURES if one.name in ("log_return", "market_return", "volume_surprise", "log_volatility")),
)
LEAKING = {
    "centred": (Feature("centred", 1, centred_mean), "it reads later bars ("),
    "filled": (Feature("filled", 4, filled), "it reads later bars ("),
    "rank": (Feature("rank", 0, rank_in_history), "it reads later bars ("),
    "standardised": (Feature("standardised", 0, standardised), "it reads later bars ("),
    "of others": (Feature("others", 1, zeros, from_context=next_of_the_first), "it reads later bars"),
    "mean of all": (Feature("next_mean", 1, zeros, from_context=next_mean_of_all), "it reads later bars"),
    "length": (Feature("share", 0, share_of_history), "its value changes where history ends"),
    "warm-up": (Feature("eager", 5, momentum), "it has no value after its declared warm-up of 5 sessions"),
}


@pytest.mark.parametrize("feature", CLEAN, ids=lambda feature: feature.name)
def test_a_feature_without_a_leak_passes(feature: Feature) -> None:
    result = audit_feature(feature, bars())
    assert result.passed, result.sentence
    assert result.sentence.startswith(f"No leak found in `{feature.name}`: 5 origins x 2 tamperings")


@pytest.mark.parametrize("leak", LEAKING)
def test_a_leaking_feature_does_not_pass(leak: str) -> None:
    feature, expected = LEAKING[leak]
    result = audit_feature(feature, bars())
    assert not result.passed
    assert result.sentence.startswith(f"`{feature.name}` must not be used: ")
    assert any(str(fault).startswith(expected) or fault.what.startswith(expected) for fault in result.faults), (
        result.sentence
    )


def test_the_fault_says_whose_later_bars_are_read() -> None:
    """T0's next return as a feature of all: for T0 it reads its own later bars, for the others those of T0."""
    result = audit_feature(Feature("first", 1, zeros, from_context=next_of_the_first), bars(), origins=3)
    tickers = {fault.what: fault.ticker for fault in result.faults}
    assert tickers["it reads later bars"] == "T0"
    assert tickers["it reads later bars of other tickers"] == "T1"  # at the origin where T0 has no bar


def test_the_fault_has_the_session_and_both_values() -> None:
    result = audit_feature(Feature("centred", 1, centred_mean), bars(), origins=2)
    (fault,) = result.faults
    assert fault.session <= fault.origin == result.origins[0]
    assert fault.before != fault.after


def test_a_feature_that_fails_and_too_little_history_are_refused() -> None:
    def broken(series: TickerSeries) -> np.ndarray:
        return series.adj_close  # type: ignore[attr-defined]

    with pytest.raises(UsageError, match="the feature broken failed on valid bars with AttributeError"):
        audit_feature(Feature("broken", 0, broken), bars())
    with pytest.raises(UsageError, match="after the warm-up of 299"):
        audit_feature(Feature("long", 299, momentum), bars())
    with pytest.raises(UsageError, match="0 origins"):
        audit_feature(CLEAN[0], bars(), origins=0)
