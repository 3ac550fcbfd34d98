"""Params and metrics as MLflow takes them: flat names, strings, finite numbers."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

import pandas as pd

from pipeline.arrays import Booleans
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.money.positions import PASSIVE
from pipeline.evaluation.scores import POOLED, score, skill_of
from pipeline.forecasters.forecaster import Fitted, ValidationCheck
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, NETWORK

Item = TypeVar("Item")

LONGEST_PARAM = 500  # what older servers take; experiment.json among the artifacts has every value whole

SCORES: Mapping[str, tuple[str, float]] = {
    "pinball": ("pinball_x1e4", 1e4),
    "crps": ("crps_x1e4", 1e4),
    "coverage_50": ("coverage_50", 1.0),
    "coverage_80": ("coverage_80", 1.0),
    "coverage_90": ("coverage_90", 1.0),
    "rmse_return": ("rmse_return", 1.0),
    "directional_accuracy": ("directional_accuracy", 1.0),
}
"""Scores that become metrics of the parent run: the name and factor of each; the tables have them all."""

TELLING = (CALIBRATED, NETWORK, "skill", "dm_p")
"""Groups of metrics that a reviewer looks at first."""

MONEY = ("sharpe", "sharpe_error", "deflated_sharpe", "yearly_return", "max_drawdown", "turnover_per_year")

FOLD_SCORES = ("pinball", "coverage_80")


@dataclass(frozen=True)
class Point:
    """One value of a metric."""

    key: str
    value: float
    step: int = 0


def finite(points: Iterable[Point]) -> list[Point]:
    """Return the points that have a value; MLflow would draw NaN as a zero."""
    return [point for point in points if math.isfinite(point.value)]


def flat_params(values: Mapping[str, object]) -> dict[str, str]:
    """Return nested plain values as dotted keys and strings, long ones cut."""
    return {key: _cut(_text(value)) for key, value in _flat(values, "")}


def _flat(values: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: object) -> str:
    if value is None or value in ("", [], ()):
        return "(none given)"
    if isinstance(value, list | tuple):
        return " ".join(item if isinstance(item, str) else json.dumps(item) for item in value)
    return str(value)


def _cut(text: str) -> str:
    if len(text) <= LONGEST_PARAM:
        return text
    ending = f" … ({len(text)} characters in all)"
    return text[: LONGEST_PARAM - len(ending)] + ending


def outcome_points(evaluation: Evaluation) -> list[Point]:
    """Return pooled scores, skills and p-values by horizon: h1/network/pinball_x1e4, h1/skill/ewma, h1/dm_p/ewma.

    Of learned class probabilities there are h1/direction/log_loss and others.
    """
    points = [*_scores(evaluation.scores), *_against(evaluation.comparisons, evaluation.verdict.model)]
    points += [*_candidates(evaluation.candidates), *_echoes(evaluation), *_directions(evaluation.direction)]
    telling = [_by_horizon(point) for point in points if _telling(point)]
    return sorted(points, key=_telling_first) + telling + list(money_points(evaluation))


def money_points(evaluation: Evaluation) -> Iterator[Point]:
    """Yield what the model's rules would have earned, and buying without any: money/calibrated/long_only/sharpe."""
    own = evaluation.money_table["forecaster"].isin([evaluation.verdict.model, PASSIVE])
    for row in evaluation.money_table[own].to_dict("records"):
        of = f"money/{row['forecaster']}/{row['rule']}"
        yield from (Point(f"{of}/{name}", float(row[name])) for name in MONEY)


def _candidates(candidates: pd.DataFrame) -> Iterator[Point]:
    for row in candidates.to_dict("records"):
        yield Point(f"h{row['horizon']}/mcs_p/{row['forecaster']}", float(row["mcs_p"]))
        yield Point(f"h{row['horizon']}/spa_p/{row['forecaster']}", float(row["spa_p"]))


def _echoes(evaluation: Evaluation) -> Iterator[Point]:
    """Yield what the model's median claims and whether it is related to what came."""
    echo = evaluation.verdict.echo
    yield Point(f"h{evaluation.verdict.horizon}/median/moved_share", echo.moved_share)
    yield Point(f"h{evaluation.verdict.horizon}/median/relation_p", echo.relation_p)


def _telling_first(point: Point) -> tuple[int, int]:
    """Return the place of a metric: the UI lists them as they were written."""
    horizon, group, _ = point.key.split("/")
    return int(horizon[1:]), TELLING.index(group) if group in TELLING else len(TELLING)


def _telling(point: Point) -> bool:
    return point.key.split("/")[1] in TELLING


def _by_horizon(point: Point) -> Point:
    """Return the point with its horizon as the step: one curve over the horizons instead of a bar for each."""
    horizon, _, rest = point.key.partition("/")
    return Point(f"by_horizon/{rest}", point.value, int(horizon[1:]))


def _scores(scores: pd.DataFrame) -> Iterator[Point]:
    for row in scores[scores["ticker"] == POOLED].to_dict("records"):
        for metric, (name, factor) in SCORES.items():
            yield Point(f"h{row['horizon']}/{row['forecaster']}/{name}", factor * row[metric])


def _against(comparisons: pd.DataFrame, model: str) -> Iterator[Point]:
    """Yield skill and adjusted p-value of the model against each opponent."""
    for row in comparisons[(comparisons["forecaster"] == model) & (comparisons["ticker"] == POOLED)].to_dict("records"):
        yield Point(f"h{row['horizon']}/skill/{row['baseline']}", row["skill"])
        yield Point(f"h{row['horizon']}/dm_p/{row['baseline']}", row["p_adjusted"])


DIRECTION_SCORES = ("log_loss", "log_loss_frequencies", "brier", "brier_frequencies", "dm_p")


def _directions(direction: pd.DataFrame | None) -> Iterator[Point]:
    for row in () if direction is None else direction.to_dict("records"):
        yield from (Point(f"h{row['horizon']}/direction/{name}", float(row[name])) for name in DIRECTION_SCORES)


def fold_points(backtest: Backtest, scored: Booleans, fold: int) -> Iterator[Point]:
    """Yield the pooled scores over the origins of one fold, and the network's skill; `scored` is the backtest's."""
    own = backtest.fold_of_origin == fold
    for h in range(backtest.horizons):
        where = scored[:, own, h]
        if where.any():
            yield from _fold_scores(backtest, own, where, h)


def _fold_scores(backtest: Backtest, own: Booleans, where: Booleans, h: int) -> Iterator[Point]:
    outcome = backtest.realised[:, own, h][where].astype(float)
    pinball = {}
    for name, values in backtest.quantiles.items():
        quantiles = values[:, own, h][where].astype(float)
        scores = {metric: score(metric, quantiles, outcome) for metric in FOLD_SCORES}
        pinball[name] = scores["pinball"]
        for metric, value in scores.items():
            label, factor = SCORES[metric]
            yield Point(f"h{h + 1}/{name}/{label}", factor * value)
    for name in backtest.opponents:
        yield Point(f"h{h + 1}/skill/{name}", skill_of(pinball[NETWORK], pinball[name]))


def fit_points(fits: Sequence[Fitted], seed: int) -> Iterator[Point]:
    """Yield the seconds of the fits of one kind and seed and, where they were trained by steps, losses and best step.

    Of networks of one ticker each, losses and best steps are their means over all of them at every step: one that has
    stopped stands at the loss of the weights that it kept, so that a mean does not change by who has left it.
    """
    kind = fits[0].forecaster.kind
    seconds = sum(fitted.seconds for fitted in fits)
    yield Point(f"fit_seconds/{kind}_seed_{seed}" if kind == NETWORK else f"fit_seconds/{kind}", seconds)
    stepped = [fitted for fitted in fits if fitted.checks]
    for step in common_steps(stepped):
        checks = [standing_at(fitted, step) for fitted in stepped]
        yield Point(f"fit_loss/train_seed_{seed}", fmean(check.train_loss for check in checks), step)
        yield Point(f"fit_loss/valid_seed_{seed}", fmean(check.valid_loss for check in checks), step)
    if stepped:
        yield Point(f"fit_stopped/best_step_seed_{seed}", fmean(fitted.best_step for fitted in stepped))


def common_steps(fits: Sequence[Fitted]) -> list[int]:
    """Return the steps of any look, in order, from the first on at which every fit has been looked at."""
    begin = max((fitted.checks[0].step for fitted in fits), default=0)
    return sorted({check.step for fitted in fits for check in fitted.checks if check.step >= begin})


def standing_at(fitted: Fitted, step: int) -> ValidationCheck:
    """Return the latest look at a fit up to a step; after its last one that at the weights it kept."""
    if step > fitted.checks[-1].step:
        return next(check for check in fitted.checks if check.step == fitted.best_step)
    return [check for check in fitted.checks if check.step <= step][-1]


def chunks(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Return the items in pieces of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]
