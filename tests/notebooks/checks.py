"""What the kernel checks after a cell of the first notebook: what it has and shows, against a reckoning of its own.

Each function is named in the cell's metadata (nbmake runs it there, unseen by a reader) and raises AssertionError.
Nothing is reckoned here by the function that the cell calls.
"""

import ast
import gzip
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

import pipeline.market
from pipeline.dataset.folds import Fold
from pipeline.dataset.frames import Frames
from pipeline.evaluation.comparisons import BASELINE_KINDS
from pipeline.evaluation.echo import Echo
from pipeline.evaluation.evaluation import Evaluation
from pipeline.forecasting.backtest import Backtest
from pipeline.market.bars import ValidatedBars
from pipeline.reporting.canvas import png_bytes
from pipeline.reporting.fans import Fan

LEVELS = np.array([0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95])
QUANTILES = ["q05", "q10", "q25", "q50", "q75", "q90", "q95"]
NEXT_SESSIONS = ["2013-03-04", "2013-03-05", "2013-03-06", "2013-03-07", "2013-03-08"]  # New York traded on all five
LAST = "2013-03-01"


def sample_rows(ticker: str) -> pd.DataFrame:
    """The rows of a ticker in the bundled file, read without validation."""
    packed = Path(pipeline.market.__file__).parent / "data" / "stocks_wiki_2000_2013.csv.gz"
    with gzip.open(packed) as unpacked:
        frame = pd.read_csv(unpacked)
    return frame[frame["Ticker"] == ticker]


def three_fates(refused: ValidatedBars, delivered: Mapping[str, pd.DataFrame], shown: pd.DataFrame) -> None:
    """One is whole, one lacks a session, one ends at a session, one has no bar; and the table says so."""
    frames = {ticker: refused.bars.frame.query("ticker == @ticker") for ticker in delivered}
    left = {exclusion.ticker for exclusion in refused.excluded}
    assert len(frames["AAPL"]) == len(delivered["AAPL"])
    assert len(frames["IBM"]) == len(delivered["IBM"]) - 1
    assert frames["IBM"]["session"].max() == frames["AAPL"]["session"].max()
    assert 100 < len(frames["GOOG"]) < len(delivered["GOOG"])
    assert frames["GOOG"]["close"].max() < 1000, "no cents among dollars"
    assert len(frames["MSFT"]) == 0
    assert left == {"GOOG", "MSFT"}
    by_ticker = shown.groupby("ticker")
    assert by_ticker["bars"].first().to_dict() == {ticker: len(rows) for ticker, rows in frames.items()}
    assert by_ticker["status"].first().to_dict() == {
        "AAPL": "clean", "IBM": "usable", "GOOG": "excluded", "MSFT": "excluded"
    }  # fmt: skip
    (ends,) = shown.loc[shown["severity"] == "bars truncated"].query("ticker == 'GOOG'")["since"]
    assert str(frames["GOOG"]["session"].max())[:10] < ends, "the bars end before the session that is named"
    assert "rows quarantined" in set(shown.query("ticker == 'IBM'")["severity"])


def sound_prices(prices: ValidatedBars, shown: pd.DataFrame) -> None:
    """All five tickers came through whole."""
    assert (prices.problems, prices.excluded) == ((), ())
    assert list(shown.index) == ["AAPL", "FB", "GOOG", "IBM", "MSFT"]
    for ticker in shown.index:
        rows = sample_rows(ticker)
        assert shown.loc[ticker, "count"] == len(rows)
        ticker_rows = prices.bars.frame.query("ticker == @ticker")
        np.testing.assert_array_equal(ticker_rows["close"], rows["Close"])


def folds_in_order(folds: Sequence[Fold], frames: Frames, shown: pd.DataFrame) -> None:
    """Train, validation and test follow each other without a gap, and so do the tests."""
    assert len(shown) == len(folds) > 1
    sessions = [str(day) for day in frames.sessions]
    where = shown.map(lambda day: sessions.index(str(day)[:10]))
    assert (where["train", "first"] == 0).all()
    assert (where["validation", "first"] == where["train", "last"] + 1).all()
    assert (where["test", "first"] == where["validation", "last"] + 1).all()
    assert (where["test", "last"] >= where["test", "first"]).all()
    assert (where["test", "first"].to_numpy()[1:] == where["test", "last"].to_numpy()[:-1] + 1).all()
    assert where["test", "last"].iloc[-1] == len(sessions) - 1


def outcomes_are_the_sample_s(backtest: Backtest) -> None:
    """What is scored is what the file says came next, and quantiles ascend."""
    rows = sample_rows("GOOG")
    moves = np.diff(np.log(rows["Adj Close"]), append=np.nan)
    came = dict(zip(rows["Date"], moves, strict=True))
    row = backtest.tickers.index("GOOG")
    scored = backtest.scored[row, :, 0]
    expected = [came[str(day)] for day in backtest.sessions[scored]]
    np.testing.assert_allclose(backtest.realised[row, scored, 0], expected, atol=2e-5)
    for values in backtest.quantiles.values():
        assert (np.diff(values[backtest.scored], axis=-1) >= 0).all()


def losses(backtest: Backtest, forecaster: str) -> np.ndarray:
    """Pinball losses [row] at horizon 1, the mean over levels."""
    where = backtest.scored[..., 0]
    outcome = backtest.realised[where][:, 0].astype(np.float64)
    total = np.zeros(len(outcome))
    for column, level in enumerate(LEVELS):
        said = backtest.quantiles[forecaster][where][:, 0, column].astype(np.float64)
        total += np.where(outcome >= said, level * (outcome - said), (1 - level) * (said - outcome))
    return total / len(LEVELS)


def verdict_is_shown(evaluation: Evaluation, backtest: Backtest, shown: Any) -> None:
    """The sentence that is shown names the best baseline, and claims no more than the losses bear."""
    said = str(shown.data)
    assert said == evaluation.verdict.sentence
    loss = losses(backtest, "calibrated").mean()
    others = {name: losses(backtest, name).mean() for name in BASELINE_KINDS}
    best = min(others, key=lambda name: others[name])
    assert said.startswith("The calibrated forecast is ")
    first = said.split(". ", maxsplit=1)[0]
    assert best in first
    assert loss < others[best] or "better than every baseline: " not in said
    ((size, word),) = re.findall(r"pinball loss is ([\d.]+) % (smaller|larger)", first)
    assert float(size) == round(abs(100 * (1 - loss / others[best])), 1)
    assert word == ("smaller" if loss <= others[best] else "larger")
    assert "without it the loss would be" in said


def skill_is_shown(backtest: Backtest, shown: Any) -> None:
    """Every cell of the skill table, read as it is displayed."""
    loss = losses(backtest, "calibrated")
    lines = [line.split("|") for line in shown.to_string(delimiter="|").splitlines() if "%" in line]
    assert len(lines) == len(backtest.quantiles) - 2
    for baseline, skill, p, word, sessions in lines:
        other = losses(backtest, baseline)
        expected = 100 * (1 - loss.mean() / other.mean())
        assert skill == f"{expected:+.2f} %".replace("-", "−"), (baseline, skill, expected)
        assert re.fullmatch(r"< 0\.001|[01]\.\d{3}", p), p
        passed = p == "< 0.001" or float(p) <= 0.05
        assert word == ("no evidence" if not passed else "better" if expected > 0 else "worse")
        assert int(sessions) == int(backtest.scored[..., 0].any(axis=0).sum())


def reliability_is_shown(backtest: Backtest, figure: Figure, shown: Any) -> None:
    """Both pairs of panels draw, per forecaster, the share of outcomes below each quantile."""
    assert shown.data == png_bytes(figure), "the figure that is shown is the one that is checked"
    for place, horizon in ((0, 1), (2, 5)):
        for axes, less in ((figure.axes[place], 0.0), (figure.axes[place + 1], 100 * LEVELS)):
            drawn = {line.get_label(): line.get_ydata() for line in axes.lines}
            for name, values in backtest.quantiles.items():
                where = backtest.scored[..., horizon - 1]
                below = backtest.realised[where][:, horizon - 1, None] <= values[where][:, horizon - 1]
                np.testing.assert_allclose(drawn[name], 100 * below.mean(axis=0) - less, atol=1e-9)


def forecast_is_of_the_next_sessions(forecasts: pd.DataFrame, shown: pd.DataFrame) -> None:
    """Dates, closes and quantiles of what is published, for every ticker and as shown."""
    published = forecasts[forecasts["published"]]
    assert len(published) == 5 * len(NEXT_SESSIONS)
    for ticker, rows in published.groupby("ticker"):
        close = sample_rows(str(ticker))["Close"].iloc[-1]
        assert set(rows["as_of"].astype(str)) == {LAST}
        assert rows["target_session"].dt.strftime("%Y-%m-%d").tolist() == NEXT_SESSIONS
        assert set(rows["reference_close"]) == {close}
        assert set(rows["age_sessions"]) == {0}
        values = rows[QUANTILES].to_numpy()
        assert (np.diff(values, axis=1) > 0).all()
        assert (values[:, 0] < close).all()
        assert (values[:, -1] > close).all()
        assert (np.diff(values[:, -1] - values[:, 0]) > 0).all(), "later is less certain"
    assert set(published["forecaster"]) == {"calibrated"}
    goog = published.query("ticker == 'GOOG'")
    pd.testing.assert_frame_equal(shown, goog.set_index("target_session")[list(shown.columns)])


def sessions_are_new_york_s(cell: str, calendar: str) -> None:
    """The calendar that the cell's call is given: in these five sessions London's would show no difference."""
    calls = [node for node in ast.walk(ast.parse(cell)) if isinstance(node, ast.Call)]
    (given,) = [ast.unparse(call.args[3]) for call in calls if ast.unparse(call.func) == "forecasts_of"]
    assert (given, calendar) == ("calendar", "XNYS")


def fan_is_shown(fan: Fan, forecasts: pd.DataFrame, figure: Figure, shown: Any) -> None:
    """The fan is of the published rows, after the sample's closes, in dollars."""
    assert shown.data == png_bytes(figure)
    rows = sample_rows("GOOG")
    assert (fan.ticker, fan.currency, fan.age_sessions) == ("GOOG", "USD", 0)
    np.testing.assert_allclose(fan.closes, rows["Close"].iloc[-len(fan.closes) :])
    assert [str(day) for day in fan.targets] == NEXT_SESSIONS
    published = forecasts[forecasts["published"] & (forecasts["ticker"] == "GOOG")]
    np.testing.assert_array_equal(fan.prices, published[QUANTILES])
    (axes,) = figure.axes
    assert axes.get_ylabel() == "USD per share"
    assert axes.get_title(loc="left") == f"GOOG: last close {rows['Close'].iloc[-1]:,.2f} USD on {LAST}"


def echo_sees_no_close(echo: Callable[[np.ndarray], np.ndarray], closes: np.ndarray, forecast: np.ndarray) -> None:
    """The forecast of a session is made of closes before it, and is the mean that the text says."""
    np.testing.assert_allclose(closes, sample_rows("GOOG")["Close"])
    np.testing.assert_array_equal(forecast, echo(closes))
    for last in (len(closes) - 1, 700):
        other = closes.copy()
        other[last:] *= 1.5
        np.testing.assert_array_equal(echo(other)[: last + 1], forecast[: last + 1])
    for session in (1, 2, 500, len(closes) - 1):
        weights = 0.5 ** np.arange(session)[::-1]
        assert np.isclose(forecast[session], (weights * closes[:session]).sum() / weights.sum())


def accuracy_is_shown(closes: np.ndarray, forecast: np.ndarray, shown: str) -> None:
    """Both percentages of the sentence."""
    accuracies = [float(number) for number in re.findall(r"([\d.]+) %", shown)]
    lines = (forecast[1:], closes[:-1])
    assert accuracies == [round(100 - 100 * np.sqrt(np.mean((line / closes[1:] - 1) ** 2)), 1) for line in lines]


def echo_is_drawn(closes: np.ndarray, forecast: np.ndarray, figure: Figure, shown: Any) -> None:
    """Left the forecast and the closes, right every session's announced and realised change."""
    assert shown.data == png_bytes(figure)
    levels, changes = figure.axes
    drawn = {line.get_label(): line for line in (*levels.lines, *changes.lines)}
    np.testing.assert_array_equal(drawn["close"].get_ydata(), closes[-250:])
    np.testing.assert_array_equal(drawn["forecast"].get_ydata(), forecast[-250:])
    for session, (announced, came) in enumerate(zip(*drawn["one session"].get_data(), strict=True), 1):
        before = closes[session - 1]
        assert np.isclose(announced, 100 * (forecast[session] - before) / before)
        assert np.isclose(came, 100 * (closes[session] - before) / before)
    assert session == len(closes) - 1
    assert abs(np.corrcoef(*drawn["one session"].get_data())[0, 1]) < 0.05, "the text says: a cloud"


def echo_is_named(judged: Echo, closes: np.ndarray, forecast: np.ndarray, shown: Any) -> None:
    """The judgement is on this forecast, and the sentence that is shown says it of a line."""
    assert shown.data == judged.sentence
    announced, came = np.log(forecast[1:] / closes[:-1]), np.log(closes[1:] / closes[:-1])
    assert (judged.name, judged.best_shift) == ("echo", -1)
    assert np.isclose(judged.moved_share, announced.var() / came.var())
    assert judged.relation_p > 0.025
    assert "is an echo" in judged.sentence
    assert "median" not in judged.sentence


def popular_table_is_honest(shown: pd.DataFrame) -> None:
    """The table is of four tickers and three starts, and bears out what the text says of it."""
    assert list(shown.index) == ["AAPL", "GOOG", "IBM", "MSFT"]
    networks = shown.filter(like="network")
    assert networks.shape == (4, 3)
    for ticker in shown.index:
        closes = sample_rows(ticker)["Close"].to_numpy()
        errors = np.full(30, closes[-31]) / closes[-30:] - 1
        assert np.isclose(shown.loc[ticker, "last value"], 100 - 100 * np.sqrt(np.mean(errors**2)))
    assert (shown > 85).all(axis=None)
    off = networks.sub(shown["last value"], axis=0)
    assert (off.drop("GOOG").abs() < 1).all(axis=None), "the text says: as the last value"
    assert (off.loc["GOOG"] > 3).all(), "the text says: every start looks brilliant"
    closes = sample_rows("GOOG")["Close"].to_numpy()[-282:]
    assert closes[0] < closes[251] < closes[-1], "the text says: it had risen, and went on rising"


def medians_are_shown(evaluation: Evaluation, backtest: Backtest, shown: pd.DataFrame) -> None:
    """What the medians do, of every forecaster: their moves and their errors, reckoned again."""
    where = backtest.scored[..., 0]
    came = backtest.realised[where][:, 0].astype(np.float64)
    assert set(shown.index) == set(backtest.quantiles)
    for name, row in shown.iterrows():
        median = backtest.quantiles[str(name)][where][:, 0, 3].astype(np.float64)
        assert row["name"] == evaluation.echoes[str(name)].name
        assert np.isclose(row["moved_share"], median.var() / came.var(), atol=1e-6)
        assert np.isclose(row["rmse_return"], np.sqrt(np.mean((came - median) ** 2)), atol=1e-9)
        unmoved = min(np.mean(came**2), np.mean((came - median.mean()) ** 2))
        assert np.isclose(row["explained_share"], 1 - np.mean((came - median) ** 2) / unmoved, atol=1e-9)
    network = shown.loc["network"]
    if network["name"] in ("informs", "too bold"):
        assert network["relation_p"] <= 0.025
        assert (network["explained_share"] > 0) == (network["name"] == "informs")
