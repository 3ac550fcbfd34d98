"""Params and metrics in the form of MLflow: flat names, strings, finite numbers."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

import pandas as pd

from pipeline.arrays import Booleans
from pipeline.evaluation.contribution import Contribution
from pipeline.evaluation.evaluation import Evaluation
from pipeline.evaluation.money.positions import PASSIVE
from pipeline.evaluation.scores import POOLED, score, skill_of
from pipeline.forecasters.forecaster import Fitted, ValidationCheck
from pipeline.forecasting.backtest import Backtest
from pipeline.forecasting.forecasts import CALIBRATED, COMBINED, NETWORK

Item = TypeVar("Item")

MAX_PARAM_LENGTH = 500  # the limit of older servers; the artifact experiment.json has every value in full

SCORES: Mapping[str, tuple[str, float]] = {
    "pinball": ("pinball_x1e4", 1e4),
    "crps": ("crps_x1e4", 1e4),
    "coverage_50": ("coverage_50", 1.0),
    "coverage_80": ("coverage_80", 1.0),
    "coverage_90": ("coverage_90", 1.0),
    "rmse_return": ("rmse_return", 1.0),
    "directional_accuracy": ("directional_accuracy", 1.0),
}
"""Scores that become metrics of the parent run, with their name and factor; the tables have all scores."""

HEADLINE_GROUPS = (CALIBRATED, COMBINED, NETWORK, "skill", "dm_p")
"""Groups of metrics that are listed first, and drawn over the horizons."""

MONEY = ("sharpe", "sharpe_error", "deflated_sharpe", "yearly_return", "max_drawdown", "turnover_per_year")

MEDIAN_VALUES = ("moved_share", "explained_share", "explained_error", "relation_p", "relation_p_adjusted")

FOLD_SCORES = ("pinball", "coverage_80")


@dataclass(frozen=True)
class MetricValue:
    """One value of a metric."""

    key: str
    value: float
    step: int = 0


def finite_values(values: Iterable[MetricValue]) -> list[MetricValue]:
    """Return the finite values; MLflow would draw NaN as a zero."""
    return [value for value in values if math.isfinite(value.value)]


def flat_params(values: Mapping[str, object]) -> dict[str, str]:
    """Return nested plain values as dotted keys and strings, cut to MAX_PARAM_LENGTH."""
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
    if len(text) <= MAX_PARAM_LENGTH:
        return text
    ending = f" … ({len(text)} characters in all)"
    return text[: MAX_PARAM_LENGTH - len(ending)] + ending


def evaluation_values(evaluation: Evaluation) -> list[MetricValue]:
    """Return pooled scores, skills and p-values by horizon: h1/network/pinball_x1e4, h1/skill/ewma, h1/dm_p/ewma.

    Learned class probabilities have h1/direction/log_loss and others.
    """
    values = [*_scores(evaluation.scores), *_comparisons(evaluation.comparisons, evaluation.verdict.model)]
    values += [*_candidates(evaluation.candidates), *_echo(evaluation), *_directions(evaluation.direction)]
    values += _contributions(evaluation.contributions)
    headline = [_by_horizon(value) for value in values if value.key.split("/")[1] in HEADLINE_GROUPS]
    return sorted(values, key=_listing_order) + headline + list(money_values(evaluation))


def money_values(evaluation: Evaluation) -> Iterator[MetricValue]:
    """Yield returns of the model's rules and of the passive portfolios: money/calibrated/long_only/sharpe."""
    shown = evaluation.money_table["forecaster"].isin([evaluation.verdict.model, PASSIVE])
    for row in evaluation.money_table[shown].to_dict("records"):
        prefix = f"money/{row['forecaster']}/{row['rule']}"
        yield from (MetricValue(f"{prefix}/{name}", float(row[name])) for name in MONEY)


def _candidates(candidates: pd.DataFrame) -> Iterator[MetricValue]:
    for row in candidates.to_dict("records"):
        yield MetricValue(f"h{row['horizon']}/mcs_p/{row['forecaster']}", float(row["mcs_p"]))
        yield MetricValue(f"h{row['horizon']}/spa_p/{row['forecaster']}", float(row["spa_p"]))


def _echo(evaluation: Evaluation) -> Iterator[MetricValue]:
    """Yield how far the model's median moves, how much of the returns it explains, and the p-values of the relation."""
    echo = evaluation.verdict.echo
    for name in MEDIAN_VALUES:
        yield MetricValue(f"h{echo.horizon}/median/{name}", getattr(echo, name))


def _contributions(network_adds: Iterable[Contribution]) -> Iterator[MetricValue]:
    """Yield what the network adds to the combination, and the mean share of every member in the band, by horizon."""
    for it in network_adds:
        yield MetricValue(f"h{it.horizon}/network_adds/skill", it.skill)
        yield MetricValue(f"h{it.horizon}/network_adds/dm_p", it.p)
        yield from (MetricValue(f"h{it.horizon}/share/{member}", share) for member, share in it.shares.items())


def _listing_order(value: MetricValue) -> tuple[int, int]:
    """Return the sort key of a metric: the UI lists them in the order in which they were written."""
    horizon, group, _ = value.key.split("/")
    return int(horizon[1:]), HEADLINE_GROUPS.index(group) if group in HEADLINE_GROUPS else len(HEADLINE_GROUPS)


def _by_horizon(value: MetricValue) -> MetricValue:
    """Return the value with its horizon as the step: one curve over the horizons instead of a bar for each."""
    horizon, _, rest = value.key.partition("/")
    return MetricValue(f"by_horizon/{rest}", value.value, int(horizon[1:]))


def _scores(scores: pd.DataFrame) -> Iterator[MetricValue]:
    for row in scores[scores["ticker"] == POOLED].to_dict("records"):
        for metric, (name, factor) in SCORES.items():
            yield MetricValue(f"h{row['horizon']}/{row['forecaster']}/{name}", factor * row[metric])


def _comparisons(comparisons: pd.DataFrame, model: str) -> Iterator[MetricValue]:
    """Yield skill and adjusted p-value of the model against each baseline."""
    for row in comparisons[(comparisons["forecaster"] == model) & (comparisons["ticker"] == POOLED)].to_dict("records"):
        yield MetricValue(f"h{row['horizon']}/skill/{row['baseline']}", row["skill"])
        yield MetricValue(f"h{row['horizon']}/dm_p/{row['baseline']}", row["p_adjusted"])


DIRECTION_SCORES = ("log_loss", "log_loss_frequencies", "brier", "brier_frequencies", "dm_p")


def _directions(direction: pd.DataFrame | None) -> Iterator[MetricValue]:
    for row in () if direction is None else direction.to_dict("records"):
        yield from (MetricValue(f"h{row['horizon']}/direction/{name}", float(row[name])) for name in DIRECTION_SCORES)


def fold_values(backtest: Backtest, scored: Booleans, fold: int) -> Iterator[MetricValue]:
    """Yield the pooled scores over the origins of one fold, and the skill of what is published; `scored` is the
    backtest's."""
    of_fold = backtest.fold_of_origin == fold
    for h in range(backtest.horizons):
        where = scored[:, of_fold, h]
        if where.any():
            yield from _fold_scores(backtest, of_fold, where, h)


def _fold_scores(backtest: Backtest, of_fold: Booleans, where: Booleans, h: int) -> Iterator[MetricValue]:
    outcome = backtest.realised[:, of_fold, h][where].astype(float)
    pinball = {}
    for name, values in backtest.quantiles.items():
        quantiles = values[:, of_fold, h][where].astype(float)
        scores = {metric: score(metric, quantiles, outcome) for metric in FOLD_SCORES}
        pinball[name] = scores["pinball"]
        for metric, value in scores.items():
            label, factor = SCORES[metric]
            yield MetricValue(f"h{h + 1}/{name}/{label}", factor * value)
    for name in backtest.opponents:
        yield MetricValue(f"h{h + 1}/skill/{name}", skill_of(pinball[backtest.published], pinball[name]))


def fit_values(fits: Sequence[Fitted], seed: int) -> Iterator[MetricValue]:
    """Yield the seconds of the fits of one kind and seed and, where they were trained by steps, losses and best step.

    For networks of one ticker each, losses and best steps are means over all networks at every step: one that has
    stopped counts with the loss of its best weights, so that the mean is always over the same networks.
    """
    kind = fits[0].forecaster.kind
    seconds = sum(fitted.seconds for fitted in fits)
    yield MetricValue(f"fit_seconds/{kind}_seed_{seed}" if kind == NETWORK else f"fit_seconds/{kind}", seconds)
    stepped = [fitted for fitted in fits if fitted.checks]
    for step in common_steps(stepped):
        checks = [check_at(fitted, step) for fitted in stepped]
        yield MetricValue(f"fit_loss/train_seed_{seed}", fmean(check.train_loss for check in checks), step)
        yield MetricValue(f"fit_loss/valid_seed_{seed}", fmean(check.valid_loss for check in checks), step)
    if stepped:
        yield MetricValue(f"fit_stopped/best_step_seed_{seed}", fmean(fitted.best_step for fitted in stepped))


def common_steps(fits: Sequence[Fitted]) -> list[int]:
    """Return the steps of all validation checks, in order, from the first at which every fit has had one."""
    begin = max((fitted.checks[0].step for fitted in fits), default=0)
    return sorted({check.step for fitted in fits for check in fitted.checks if check.step >= begin})


def check_at(fitted: Fitted, step: int) -> ValidationCheck:
    """Return the latest validation check of a fit up to a step; after the last one, that of its best step."""
    if step > fitted.checks[-1].step:
        return next(check for check in fitted.checks if check.step == fitted.best_step)
    return [check for check in fitted.checks if check.step <= step][-1]


def in_batches(items: Sequence[Item], size: int) -> list[Sequence[Item]]:
    """Return the items in batches of at most `size`."""
    return [items[start : start + size] for start in range(0, len(items), size)]


def metric_name(text: str) -> str:
    """Return a text as the name of a metric."""
    return re.sub(r"[^A-Za-z0-9]+", "_", text)
