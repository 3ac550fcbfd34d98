"""Which forecaster's forecasts are published: the model's, or a baseline's where the model has not shown its skill."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd

from pipeline.evaluation.comparisons import best_by_ticker, compare_with_baselines, conclusions_by_ticker
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.specification import Abstain
from pipeline.forecasting.forecasts import NETWORK


@dataclass(frozen=True)
class Publication:
    """The forecaster that is published, by horizon and ticker.

    `pooled` is that of a horizon; `by_ticker` names the tickers that differ from it. A horizon that is not named has
    the model's.
    """

    model: str = NETWORK
    pooled: Mapping[int, str] | None = None
    by_ticker: Mapping[int, Mapping[str, str]] | None = None

    def forecaster(self, ticker: str, horizon: int) -> str:
        """Return the forecaster that is published for one ticker at one horizon."""
        of_horizon = (self.by_ticker or {}).get(horizon, {})
        return of_horizon.get(ticker) or (self.pooled or {}).get(horizon, self.model)

    @property
    def abstained(self) -> tuple[int, ...]:
        """The horizons at which a baseline is published for all tickers that are not named."""
        return tuple(horizon for horizon, name in sorted((self.pooled or {}).items()) if name != self.model)


def publication(evaluation: Evaluation, abstain: Abstain) -> Publication:
    """Return what is published after an evaluation.

    With "pooled" a horizon at which the model is not better than every simple baseline has the best of them; with
    "ticker" this is decided for every ticker by itself; a ticker that was not scored has the pooled result.
    """
    model, horizons = evaluation.verdict.model, range(1, evaluation.backtest.horizons + 1)
    if abstain == "never":
        return Publication(model)
    stands = {h: compare_with_baselines(evaluation.comparisons, model, h) for h in horizons}
    pooled = {h: model if standing.passed else standing.best_baseline for h, standing in stands.items()}
    if abstain == "pooled":
        return Publication(model, pooled)
    return Publication(model, pooled, {h: _of_tickers(evaluation.comparisons, model, h) for h in horizons})


def _of_tickers(comparisons: pd.DataFrame, model: str, horizon: int) -> dict[str, str]:
    best = best_by_ticker(comparisons, model, horizon)
    words = conclusions_by_ticker(comparisons, model, horizon)
    return {ticker: model if word == "better" else best[ticker] for ticker, word in words.items()}


def marked(forecasts: pd.DataFrame, chosen: Publication) -> pd.DataFrame:
    """Return the long table of forecasts with a column `published`: True once per ticker and horizon."""
    keys = zip(forecasts["ticker"], forecasts["horizon"], forecasts["forecaster"], strict=True)
    return forecasts.assign(published=[name == chosen.forecaster(ticker, int(h)) for ticker, h, name in keys])


def published_rows(forecasts: pd.DataFrame) -> pd.DataFrame:
    """Return the published rows of a marked table: one per ticker and horizon, labelled by its forecaster."""
    return forecasts[forecasts["published"]].reset_index(drop=True)
