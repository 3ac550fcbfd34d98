"""Where a baseline is shown in the model's place, in words."""

from collections.abc import Iterable, Sequence

import pandas as pd

from pipeline.operation.publication import published_rows
from pipeline.wording import count_of, model_in_words, names

Published = tuple[str, int, str]
"""Ticker, horizon and the forecaster whose forecast is shown."""


def published_names(forecasts: pd.DataFrame) -> list[Published]:
    """Return ticker, horizon and forecaster of every published row."""
    rows = published_rows(forecasts)
    return [(str(row["ticker"]), int(row["horizon"]), str(row["forecaster"])) for _, row in rows.iterrows()]


def shown_instead(published: Iterable[Published], model: str) -> list[str]:
    """Return a sentence for each baseline that stands in the model's place, and where; none where the model stands."""
    rows = list(published)
    tickers = list(dict.fromkeys(ticker for ticker, _, _ in rows))
    where: dict[tuple[str, tuple[str, ...]], list[int]] = {}
    for horizon in sorted({horizon for _, horizon, _ in rows}):
        own = [(ticker, name) for ticker, of, name in rows if of == horizon and name != model]
        for baseline in sorted({name for _, name in own}):
            having = tuple(ticker for ticker, name in own if name == baseline)
            where.setdefault((baseline, having), []).append(horizon)
    return [_sentence(*key, horizons, model, len(tickers)) for key, horizons in where.items()]


def _sentence(baseline: str, having: tuple[str, ...], horizons: list[int], model: str, tickers: int) -> str:
    of = "" if len(having) == tickers else f" for {names(having)}"
    there = "at this horizon" if len(horizons) == 1 else "at these horizons"
    return (
        f"Baseline {baseline} is shown{of} {horizons_in_words(horizons)}: {model_in_words(model)} has not shown "
        f"skill {there}."
    )


def horizons_in_words(horizons: Sequence[int]) -> str:
    """Return "1 session ahead", "1 to 5 sessions ahead" or "1, 3 and 5 sessions ahead" of sorted horizons."""
    first, last = horizons[0], horizons[-1]
    if len(horizons) == 1:
        return f"{count_of(first, 'session')} ahead"
    if len(horizons) > 2 and last - first == len(horizons) - 1:
        return f"{first} to {last} sessions ahead"
    return f"{', '.join(map(str, horizons[:-1]))} and {last} sessions ahead"
