"""Echo detection: a claim without information is an echo, no claim is not, and a signal is found."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from pipeline.errors import UsageError
from pipeline.evaluation.echo import (
    RELATED,
    EchoName,
    best_shift,
    echo_of,
    echo_of_line,
    echoes,
    explained_share,
    moved_share,
    relation_p,
)
from pipeline.evaluation.significance.predictive_ability import diebold_mariano
from pipeline.evaluation.trials import Trials
from pipeline.forecasters.forecaster import LEVELS
from pipeline.forecasting.backtest import Backtest
from pipeline.tutorials.ohlc import OhlcSpec
from pipeline.tutorials.presets import ohlc
from pipeline.tutorials.run import TutorialFit, fit_tutorial, tutorial_forecasts

SESSIONS, TICKERS, NOISE = 600, 5, 0.02


def returns_with_signal(signal: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return returns [ticker, session], and the predictable part of the next one [ticker, session]."""
    draws = np.random.default_rng(seed)
    known = draws.normal(0, NOISE, (TICKERS, SESSIONS))
    came = signal * np.roll(known, 1, axis=1) + np.sqrt(1 - signal**2) * draws.normal(0, NOISE, (TICKERS, SESSIONS))
    return came, signal * known


def backtest_of(returns: np.ndarray, median: np.ndarray) -> Backtest:
    """A forecaster with this median for the next session, at horizon 1, and the last close."""
    realised = np.full(returns.shape, np.nan)
    realised[:, :-1] = returns[:, 1:]
    band = NOISE * norm.ppf(LEVELS)
    days = np.datetime64("2020-01-01") + np.arange(SESSIONS + 1)
    values = {"network": median[..., None, None] + band, "last_close": np.zeros_like(median)[..., None, None] + band}
    return Backtest(
        tickers=tuple(f"T{row}" for row in range(TICKERS)),
        sessions=days[:-1],
        fold_names=("only",),
        fold_of_origin=np.zeros(SESSIONS, dtype=np.int64),
        quantiles={name: quantiles.astype(np.float32) for name, quantiles in values.items()},
        realised=realised[..., None].astype(np.float32),
        reference_close=100 * np.exp(np.cumsum(returns, axis=1)),
        target_sessions=days[1:, None],
    )


def classified(returns: np.ndarray, median: np.ndarray, claims: bool) -> EchoName:
    return echo_of(backtest_of(returns, median), "network", claims, Trials()).name


def lagged_median(returns: np.ndarray) -> np.ndarray:
    """Return the median of a network trained on levels: the last close, less half of the last move, and noise."""
    return -0.5 * returns + np.random.default_rng(9).normal(0, 0.3 * NOISE, returns.shape)


def test_persistence_that_claims_accuracy_is_an_echo() -> None:
    returns, _ = returns_with_signal()
    median = lagged_median(returns)
    backtest = backtest_of(returns, median)
    levels = backtest.reference_close[:, :-1] * np.exp(median[:, :-1])
    truth = backtest.reference_close[:, 1:]
    accuracy = 100 * (1 - np.sqrt(np.mean(((levels - truth) / truth) ** 2)))
    assert accuracy > 95  # the popular formula is high
    found = echo_of(backtest, "network", claims=True, trials=Trials())
    assert (found.name, found.best_shift) == ("echo", -1)
    assert "echo" in found.sentence
    assert f"{100 * found.moved_share:.0f} %" in found.sentence


def test_it_is_an_echo_even_where_it_makes_no_claim_by_name() -> None:
    returns, _ = returns_with_signal()
    assert classified(returns, lagged_median(returns), claims=False) == "echo"


def test_yesterdays_echo_is_one_too() -> None:
    returns, _ = returns_with_signal()
    found = echo_of(backtest_of(returns, -0.97 * returns), "network", claims=True, trials=Trials())
    assert (found.name, found.best_shift) == ("echo", -2)


@pytest.mark.parametrize("signal", [0.1, 0.3, 0.6])
def test_a_planted_one_day_signal_is_not_an_echo(signal: float) -> None:
    returns, known = returns_with_signal(signal)
    found = echo_of(backtest_of(returns, known), "network", claims=True, trials=Trials())
    assert found.name == "informs"
    assert found.moved_share == pytest.approx(signal**2, rel=0.1)


def test_an_honest_quantile_forecaster_is_not_an_echo() -> None:
    """Its median is a little off zero, as those of trained networks are, and nothing is claimed."""
    returns, _ = returns_with_signal()
    median = np.random.default_rng(4).normal(0, 0.05 * NOISE, returns.shape)
    found = echo_of(backtest_of(returns, median), "network", claims=False, trials=Trials())
    assert found.name == "no claim"
    assert found.best_shift == -1  # the lag in levels alone proves nothing
    assert "as expected" in found.sentence
    assert classified(returns, median, claims=True) == "echo"  # the same median, claimed as one of direction


def test_a_median_that_never_moves_is_persistence() -> None:
    returns, _ = returns_with_signal()
    found = echoes(backtest_of(returns, np.full(returns.shape, 0.0)), {"network": True}, Trials())
    assert found["network"].name == found["last_close"].name == "persistence"
    assert np.isnan(found["network"].relation_p)


def test_bold_but_slightly_right_is_not_said_to_inform() -> None:
    """Related to the outcome, but so bold that the last close errs less."""
    returns, known = returns_with_signal(0.3)
    noisy = 6 * known + np.random.default_rng(1).normal(0, NOISE, known.shape)
    found = echo_of(backtest_of(returns, noisy), "network", claims=True, trials=Trials())
    assert found.relation_p < 0.025
    assert found.name == "too bold"
    assert "is related to the realised changes" in found.sentence
    assert "explains" not in found.sentence


EVERYWHERE = np.ones((TICKERS, SESSIONS), dtype=bool)


@pytest.mark.parametrize("coefficient", [0.1, 0.3, 0.6])
def test_the_size_is_the_share_that_an_autoregression_makes_predictable(coefficient: float) -> None:
    """Of y_t = c y_(t-1) + e the median c y_(t-1) explains c^2, within three of its standard errors."""
    draws = np.random.default_rng(2)
    returns = np.zeros((TICKERS, SESSIONS + 51))
    for t in range(1, returns.shape[1]):
        returns[:, t] = coefficient * returns[:, t - 1] + draws.normal(0, NOISE, TICKERS)
    before, after = returns[:, 50:-1], returns[:, 51:]
    share, error = explained_share(coefficient * before, after, EVERYWHERE, 1)
    assert abs(share - coefficient**2) < 3 * error
    assert 0.001 < error < 0.03


def test_the_size_is_the_ratio_of_squared_errors() -> None:
    """A median k times the predictable part z explains (2k - k^2) var z, less what its own noise adds."""
    draws = np.random.default_rng(3)
    z, noise, own = (draws.normal(0, sd * NOISE, EVERYWHERE.shape) for sd in (0.3, 1.0, 0.2))
    outcome = z + noise
    for k, exact in ((1.0, 0.09), (0.5, 0.0675), (2.0, 0.0), (3.0, -0.27)):
        share, error = explained_share(k * z, outcome, EVERYWHERE, 1)
        assert share == pytest.approx(exact / 1.09, abs=3 * error)
    share, _ = explained_share(z + own, outcome, EVERYWHERE, 1)
    assert share == pytest.approx((0.09 - 0.04) / 1.09, abs=0.02)


def test_neither_drift_nor_a_wrong_mean_counts_as_explained() -> None:
    draws = np.random.default_rng(4)
    z = draws.normal(0, 0.1 * NOISE, EVERYWHERE.shape)
    outcome = z + draws.normal(0, NOISE, EVERYWHERE.shape)
    z, outcome, drift = z - z.mean(), outcome - outcome.mean(), 0.2 * NOISE
    plain, _ = explained_share(z, outcome, EVERYWHERE, 1)
    drifting, _ = explained_share(z + drift, outcome + drift, EVERYWHERE, 1)
    assert drifting == pytest.approx(plain), "against no change it would be 4 % more"
    biased, _ = explained_share(z + drift, outcome, EVERYWHERE, 1)
    assert biased == pytest.approx(plain - drift**2 / outcome.var()), "no change errs less than the mean median"
    constant, _ = explained_share(np.full(z.shape, drift), outcome + drift, EVERYWHERE, 1)
    assert constant == pytest.approx(0.0, abs=1e-12)


def test_the_error_of_the_size_is_its_spread_over_samples() -> None:
    draws = np.random.default_rng(5)
    found = []
    for _ in range(60):
        z = draws.normal(0, 0.2 * NOISE, (TICKERS, 300))
        outcome = z + draws.normal(0, NOISE, z.shape)
        found.append(explained_share(z, outcome, np.ones(z.shape, dtype=bool), 1))
    shares, errors = np.array(found).T
    assert errors.mean() == pytest.approx(shares.std(), rel=0.3)


def test_the_size_is_said_with_its_sign() -> None:
    returns, known = returns_with_signal(0.3)
    informing = echo_of(backtest_of(returns, known), "network", claims=True, trials=Trials())
    share = f"{100 * informing.explained_share:.2f} %"
    assert informing.explained_share == pytest.approx(0.09, abs=0.03)
    expected = f"The network's median explains {share} of the variance of the realised changes 1 session ahead (± "
    assert informing.sentence.startswith(expected)
    bold = echo_of(backtest_of(returns, 6 * known), "network", claims=True, trials=Trials())
    assert bold.name == "too bold"
    assert bold.explained_share < -1
    assert f"its squared error is {-100 * bold.explained_share:.2f} % larger" in bold.sentence


def test_the_relation_is_the_test_of_the_covariance() -> None:
    returns, known = returns_with_signal(0.06, seed=3)
    outcome, where = np.roll(returns, -1, axis=1), np.ones(returns.shape, dtype=bool)
    product = ((known - known.mean()) * outcome).mean(axis=0)
    test = diebold_mariano(product, 1, 20)
    assert 0.001 < test.p < 0.999
    assert relation_p(known, outcome, where, 1) == pytest.approx(test.p / 2 if test.t > 0 else 1 - test.p / 2, rel=1e-9)
    assert relation_p(-known, outcome, where, 1) == pytest.approx(1 - relation_p(known, outcome, where, 1), rel=1e-9)


FIFTY = Trials(tested=50)  # every p is multiplied by 50 x 49


def little_known() -> Backtest:
    """A median that is related with p = 0.014: significant as the first specification tested, not as the second."""
    returns, known = returns_with_signal(0.05, seed=6)
    return backtest_of(returns, known)


@pytest.mark.parametrize(("claims", "name"), [(False, "no claim"), (True, "unproven")])
def test_what_one_test_finds_is_not_shown_after_fifty(claims: bool, name: EchoName) -> None:
    backtest = little_known()
    alone, after = (echo_of(backtest, "network", claims, trials) for trials in (Trials(), FIFTY))
    assert alone.relation_p == pytest.approx(0.0144, abs=1e-4)
    assert echo_of(backtest, "network", claims, Trials(tested=2)).name == name
    assert alone.name == "informs"
    assert (after.name, after.relation_p) == (name, alone.relation_p)
    assert after.relation_p_adjusted == min(1.0, 50 * 49 * alone.relation_p)
    assert after.explained_share == alone.explained_share
    assert f"p = 1.000 adjusted for what was tried, p = {alone.relation_p:.3f} alone" in after.sentence
    assert "explains" not in after.sentence


def test_a_single_specification_is_not_adjusted() -> None:
    found = echo_of(little_known(), "network", claims=False, trials=Trials(tested=1, tuned=30))
    assert found.relation_p_adjusted == found.relation_p
    assert found.sentence.endswith(f", p = {found.relation_p:.3f}).")


def test_a_strong_relation_is_found_after_fifty() -> None:
    returns, known = returns_with_signal(0.3)
    found = echo_of(backtest_of(returns, known), "network", claims=True, trials=FIFTY)
    assert found.name == "informs"
    assert found.relation_p < found.relation_p_adjusted <= 0.025
    assert "adjusted for what was tried, p < 0.001 alone)" in found.sentence


def test_every_forecaster_is_adjusted_alike() -> None:
    found = echoes(little_known(), {}, FIFTY)
    assert found["network"].relation_p_adjusted == FIFTY.adjusted(found["network"].relation_p)
    assert found["network"].name == "no claim"


def test_a_search_in_noise_informs_only_where_it_is_not_counted() -> None:
    """Fifty medians without any relation to the same outcomes, over 24 markets: the k-th is judged as the k-th."""
    found = np.zeros((24, 2), dtype=bool)
    for world in range(len(found)):
        draws = np.random.default_rng(world)
        outcome = draws.normal(0, NOISE, (2, 250))
        for k in range(1, 51):
            change = draws.normal(0, 0.05 * NOISE, outcome.shape)
            p = relation_p(change, outcome, np.ones(outcome.shape, dtype=bool), 1)
            found[world] |= (p <= RELATED, Trials(tested=k).adjusted(p) <= RELATED)
    alone, counted = found.mean(axis=0)
    assert alone > 0.5
    assert counted <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / len(found))


def test_a_median_is_said_to_inform_no_more_often_than_stated() -> None:
    """Medians without any relation, each over its own market: at most 2.5 % and two standard errors."""
    said = 0
    for seed in range(200):
        draws = np.random.default_rng(seed)
        outcome = draws.standard_t(5, (TICKERS, 250)) * NOISE
        median = draws.normal(0, 0.05 * NOISE, outcome.shape)
        said += relation_p(median, outcome, np.ones(outcome.shape, dtype=bool), 1) <= 0.025
    assert said / 200 <= 0.025 + 2 * np.sqrt(0.025 * 0.975 / 200)


def slow_shift(change: np.ndarray, outcome: np.ndarray, shift: int, horizon: int) -> dict[tuple[int, int], float]:
    """(ticker, origin) -> log forecast level less log price `shift` horizons after the target, by a walk along it."""
    found = {}
    for ticker in range(outcome.shape[0]):
        for origin in range(outcome.shape[1]):
            level, at, steps = 0.0, origin, shift + 1
            while steps > 0 and at < outcome.shape[1]:
                level, at, steps = level + outcome[ticker, at], at + horizon, steps - 1
            while steps < 0 and at - horizon >= 0:
                at, steps = at - horizon, steps + 1
                level -= outcome[ticker, at]
            if steps == 0:
                found[ticker, origin] = change[ticker, origin] - level
    return found


@settings(max_examples=40, deadline=None, derandomize=True)
@given(st.integers(1, 3), st.integers(0, 10_000), st.sampled_from([-1.0, -0.5, 0.0, 0.5, 1.0, 2.0]))
def test_the_best_shift_is_that_of_a_walk_along_the_prices(horizon: int, seed: int, strength: float) -> None:
    draws = np.random.default_rng(seed)
    outcome = draws.normal(0, 1, (2, 40))
    change = strength * np.roll(outcome, draws.integers(-3, 4), axis=1)
    outcome[draws.uniform(size=outcome.shape) < 0.05] = np.nan
    change[np.isnan(outcome)] = np.nan
    walks = {shift: slow_shift(change, outcome, shift, horizon) for shift in (-2, -1, 0, 1, 2)}
    rows = [row for row in walks[0] if all(np.isfinite(walk.get(row, np.nan)) for walk in walks.values())]
    means = {shift: np.mean([walk[row] ** 2 for row in rows]) for shift, walk in walks.items()}
    assert best_shift(change, outcome, np.isfinite(outcome), horizon) == min(means, key=lambda shift: means[shift])


def test_nothing_scored_is_no_crash() -> None:
    returns, known = returns_with_signal(0.3)
    backtest = backtest_of(returns, known)
    nothing = replace(backtest, realised=np.full_like(backtest.realised, np.nan))
    assert echo_of(nothing, "network", claims=True, trials=Trials()).name in ("persistence", "no claim")
    assert np.isnan(moved_share(np.array([]), np.array([])))
    assert np.isnan(explained_share(known, returns, np.zeros(returns.shape, dtype=bool), 1)).all()


def test_the_forecast_of_the_first_session_is_not_read() -> None:
    draws = np.random.default_rng(0)
    closes = np.exp(np.cumsum(draws.normal(0, NOISE, 300)))
    line = np.append(closes[0], closes[:-1] * np.exp(draws.normal(0, NOISE, 299)))
    found = echo_of_line("made", line, closes)
    assert np.isfinite(found.relation_p)
    assert found == echo_of_line("made", np.append(np.nan, line[1:]), closes)


def test_a_line_of_prices_is_judged_as_a_backtest_of_it_is() -> None:
    returns, _ = returns_with_signal()
    median = lagged_median(returns)
    backtest = backtest_of(returns, median)
    closes = backtest.reference_close[0]
    one = replace(
        backtest,
        tickers=("T0",),
        quantiles={name: values[:1] for name, values in backtest.quantiles.items()},
        realised=backtest.realised[:1],
    )
    line = np.append(closes[0], closes[:-1] * np.exp(median[0, :-1]))
    found, expected = echo_of_line("network", line, closes), echo_of(one, "network", claims=True, trials=Trials())
    assert (found.name, found.best_shift) == (expected.name, expected.best_shift) == ("echo", -1)
    assert found.moved_share == pytest.approx(expected.moved_share, rel=1e-4)
    assert found.explained_share == pytest.approx(expected.explained_share, rel=1e-3)
    assert found.relation_p == pytest.approx(expected.relation_p, rel=1e-3)
    assert found.sentence.startswith("The line “network” is an echo: ")
    assert "median" not in found.sentence, "a line of prices has none"
    assert found.sentence.removeprefix("The line “network”")[:20] == expected.sentence.split("median", 1)[1][:20]
    with pytest.raises(UsageError, match="599 forecasts and 600 closes"):
        echo_of_line("network", line[1:], closes)


@pytest.fixture(scope="module")
def taught() -> TutorialFit:
    tutorial = ohlc(OhlcSpec(), "many_to_one")
    return fit_tutorial(tutorial, tutorial.data(0), 0)


def test_a_network_of_levels_is_an_echo(taught: TutorialFit) -> None:
    rows = tutorial_forecasts(taught)
    forecast, truth = (rows[name].to_numpy(dtype=float) for name in ("forecast", "actual"))
    assert (np.diff(rows["step"]) == 1).all()
    accuracy = 100 * (1 - np.sqrt(np.mean(((forecast - truth) / truth) ** 2)))
    assert accuracy > 95
    found = echo_of_line("network", forecast, truth)
    assert (found.name, found.best_shift) == ("echo", -1)
