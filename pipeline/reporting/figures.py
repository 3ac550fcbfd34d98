"""All figures of a calendar's result, as PNG bytes by file name."""

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence

from matplotlib.figure import Figure

from pipeline.evaluation.evaluation import Evaluation
from pipeline.operation.result import CalendarResult
from pipeline.reporting.backtest_figures import draw_equity, draw_groups, draw_skill, has_groups
from pipeline.reporting.calibration_figures import draw_coverage, draw_pit, draw_reliability
from pipeline.reporting.calibration_tables import last_scored
from pipeline.reporting.canvas import png_bytes
from pipeline.reporting.combination_section import draw_weights
from pipeline.reporting.fans import Fan, draw_fan, draw_sheet, fans
from pipeline.reporting.money_tables import has_money
from pipeline.reporting.training_section import draw_latest_loss, draw_losses_by_fold, network_fits

SKILL, RELIABILITY, COVERAGE = "skill.png", "reliability.png", "coverage.png"
PIT, EQUITY, GROUPS, WEIGHTS = "pit.png", "equity.png", "groups.png", "weights.png"
LATEST_LOSS, LOSSES_BY_FOLD = "loss_latest_fold.png", "loss_by_fold.png"

MAX_SINGLE_FANS = 50  # one takes three times the seconds that it takes on a sheet
FANS_PER_SHEET = 30

_PLAIN_TICKER = re.compile(r"[A-Z0-9][A-Z0-9.=_-]{0,31}")


def draw_figures(result: CalendarResult) -> dict[str, bytes]:
    """Return every figure that the result has data for, as PNG by a safe file name."""
    return {name: png_bytes(figure) for name, figure in _figures(result)}


def sheets_of_fans(tickers: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return the tickers whose fans each figure shows, by its name: one each, or sheets of FANS_PER_SHEET for many."""
    if len(tickers) <= MAX_SINGLE_FANS:
        return {fan_name(ticker): (ticker,) for ticker in tickers}
    starts = range(0, len(tickers), FANS_PER_SHEET)
    return {f"fans_{k + 1:03d}.png": tuple(tickers[at : at + FANS_PER_SHEET]) for k, at in enumerate(starts)}


def fan_name(ticker: str) -> str:
    """Return the file name of a ticker's fan: never another folder, nor another ticker's name."""
    if _PLAIN_TICKER.fullmatch(ticker):
        return f"fan_{ticker}.png"
    # Some file systems ignore case, and replaced characters would collide: the digest keeps names apart.
    digest = hashlib.sha256(ticker.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"fan_{re.sub(r'[^A-Za-z0-9]+', '_', ticker)[:32]}~{digest}.png"


def _figures(result: CalendarResult) -> Iterator[tuple[str, Figure]]:
    if result.forecasts is not None:
        yield from _fan_figures(fans(result.forecasts, result.frames, result.currencies, result.publication.model))
    if result.evaluation is not None:
        yield from _backtest_figures(result.evaluation)
    yield from _loss_figures(result)


def _fan_figures(drawn: Iterable[Fan]) -> Iterator[tuple[str, Figure]]:
    by_ticker = {fan.ticker: fan for fan in drawn}
    for name, tickers in sheets_of_fans(list(by_ticker)).items():
        shown = [by_ticker[ticker] for ticker in tickers]
        yield name, draw_fan(shown[0]) if len(shown) == 1 else draw_sheet(shown)


def _backtest_figures(evaluation: Evaluation) -> Iterator[tuple[str, Figure]]:
    yield SKILL, draw_skill(evaluation)
    yield RELIABILITY, draw_reliability(evaluation.backtest)
    yield COVERAGE, draw_coverage(evaluation.backtest)
    if evaluation.backtest.weights is not None:
        yield WEIGHTS, draw_weights(evaluation.backtest.weights, sorted({1, last_scored(evaluation.backtest)}))
    if evaluation.pit["observed"].notna().any():
        yield PIT, draw_pit(evaluation)
    if has_money(evaluation):
        yield EQUITY, draw_equity(evaluation)
    if has_groups(evaluation):
        yield GROUPS, draw_groups(evaluation)


def _loss_figures(result: CalendarResult) -> Iterator[tuple[str, Figure]]:
    by_fold = [(fold, network_fits(result.results, fold)) for fold in result.folds]
    drawn = [(fold, fits) for fold, fits in by_fold if fits]
    if drawn:
        fold, fits = drawn[-1]
        yield LATEST_LOSS, draw_latest_loss(fits, fold)
    if len(drawn) > 1:
        yield LOSSES_BY_FOLD, draw_losses_by_fold(drawn)
