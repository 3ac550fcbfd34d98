"""Gradient boosted trees by the pinball loss, stored as plain arrays."""

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from pipeline.arrays import Floats32
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, origin_scale, scaled_target
from pipeline.errors import FitError
from pipeline.forecasters.forecaster import (
    DEFAULT_FEATURES,
    LEVELS,
    FitData,
    Fitted,
    Forecaster,
    Parameters,
    own_features,
)
from pipeline.forecasters.trees import Forest, arrays_of, forest_of, rounded_down, sum_of_trees
from pipeline.forecasters.unit_quantiles import rearranged


class BoostingSpec(BaseModel, frozen=True, extra="forbid"):
    """Gradient boosted trees by the pinball loss, one sum of trees per level; the horizon is one of its features."""

    kind: Literal["boosting"] = "boosting"
    features: tuple[str, ...] = Field(DEFAULT_FEATURES, min_length=1, description="What the trees read")
    most_rows: int = Field(600_000, ge=100, description="Rows (origin and horizon) drawn from the training range")
    most_rounds: int = Field(150, ge=1, le=1000, description="Most trees per level; validation chooses how many")
    leaves: int = Field(16, ge=2, le=256, description="Leaves per tree")
    smallest_leaf: int = Field(1000, ge=1, description="Training rows per leaf at least")
    learning_rate: float = Field(0.1, gt=0.0, le=1.0, description="Share of each tree that is added")


MOST_VALIDATION_ROWS = 50_000
PATIENCE_ROUNDS = 10  # rounds without a smaller validation loss after which a level stops


def fit(spec: BoostingSpec, data: FitData) -> Parameters:
    """Return the trees of every level, and the constants [level] they are added to.

    Friedman (2001), algorithm 1 with the pinball loss. The target is y_h / (vol sqrt(h)); rows of all horizons are
    learned together, with the horizon as the last feature. The validation range chooses the number of trees, and
    nothing else is learned there. Raises FitError when a range has no label.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # noqa: PLC0415

    frames, fold, draws = data.frames, data.fold, np.random.default_rng(data.seed)
    learn = _drawn_rows(frames, fold.train, spec.most_rows, draws)
    judge = _drawn_rows(frames, fold.validation, MOST_VALIDATION_ROWS, draws)
    with threadpool_limits(1):  # sums then have one order, whatever else runs
        models = [_boost(spec, level, data.seed, learn, judge) for level in LEVELS]
    constants = np.array([model._baseline_prediction.item() for model in models], dtype=np.float32)
    forests = [arrays_of(_best_trees(model), _name(level)) for level, model in enumerate(models)]
    return Parameters({"constant": constants, **{name: array for forest in forests for name, array in forest.items()}})


def _name(level: int) -> str:
    return f"q{round(100 * LEVELS[level]):02d}"


def _drawn_rows(frames: Frames, part: Range, most: int, draws: np.random.Generator) -> tuple[Floats32, Floats32]:
    """Return features with the horizon as the last [row, feature + 1], and scaled targets [row]."""
    known = label_mask(frames, part)
    rows = np.flatnonzero(known)
    if not len(rows):
        raise FitError(f"no label to boost with between {part.first} and {part.until}; give a longer range")
    if len(rows) > most:
        rows = np.sort(draws.choice(rows, most, replace=False))
    ticker, session, horizon = np.unravel_index(rows, known.shape)
    read = np.column_stack([frames.features[ticker, session], (horizon + 1).astype(np.float32)])
    return read, scaled_target(frames)[ticker, session, horizon]


def _boost(
    spec: BoostingSpec, level: float, seed: int, learn: tuple[Floats32, Floats32], judge: tuple[Floats32, Floats32]
) -> Any:
    from sklearn.ensemble import HistGradientBoostingRegressor  # noqa: PLC0415  heavy, and forecasts do without it

    model = HistGradientBoostingRegressor(
        loss="quantile",
        quantile=level,
        learning_rate=spec.learning_rate,
        max_iter=spec.most_rounds,
        max_leaf_nodes=spec.leaves,
        min_samples_leaf=spec.smallest_leaf,
        early_stopping=True,
        scoring="loss",
        n_iter_no_change=PATIENCE_ROUNDS,
        tol=0.0,
        random_state=seed,
    )
    # The validation rows are passed: by default it would draw them from the training rows, and never later ones.
    return model.fit(*learn, X_val=judge[0], y_val=judge[1])


def _best_trees(model: Any) -> Forest:
    """Return the trees up to the round with the smallest validation loss, none where the constant was best."""
    best = int(np.argmax(model.validation_score_))  # its first entry is the constant alone
    return exported_trees([predictor[0].nodes for predictor in model._predictors[:best]])


def exported_trees(trees: list[np.ndarray]) -> Forest:
    """Return scikit-learn's node tables of trees as one forest; missing nodes are leaves of value zero."""
    size = max((len(nodes) for nodes in trees), default=1)
    inner = [nodes["is_leaf"] == 0 for nodes in trees]
    thresholds = [rounded_down(nodes["num_threshold"]) for nodes in trees]
    return Forest(
        feature=_padded([nodes["feature_idx"] for nodes in trees], size),
        threshold=_padded(thresholds, size),
        left=_padded([np.where(own, nodes["left"], 0) for own, nodes in zip(inner, trees, strict=True)], size),
        right=_padded([np.where(own, nodes["right"], 0) for own, nodes in zip(inner, trees, strict=True)], size),
        missing_left=_padded([nodes["missing_go_to_left"] for nodes in trees], size),
        value=_padded([np.where(own, 0.0, nodes["value"]) for own, nodes in zip(inner, trees, strict=True)], size),
    )


def _padded(values: list[np.ndarray], size: int) -> Floats32:
    result = np.zeros((len(values), size), dtype=np.float32)
    for tree, own in enumerate(values):
        result[tree, : len(own)] = own
    return result


def quantiles(_spec: BoostingSpec, fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level], sorted over the levels."""
    arrays, horizons = fitted.arrays, fitted.horizons
    read = frames.features[:, origins]  # [ticker, origin, feature]
    columns = list(np.ascontiguousarray(np.moveaxis(read, 2, 0).reshape(read.shape[2], -1)))
    scaled = np.empty((*read.shape[:2], horizons, len(LEVELS)), dtype=np.float32)
    for level, constant in enumerate(arrays["constant"]):
        forest = forest_of(arrays, _name(level))
        for h in range(horizons):
            added = sum_of_trees(forest, [*columns, np.float32(h + 1)])
            scaled[:, :, h, level] = (constant + added).reshape(read.shape[:2])
    return rearranged(scaled) * origin_scale(frames.volatility[:, origins], horizons)[..., None]


FORECASTER = Forecaster(BoostingSpec, fit, quantiles, "benchmark", features=own_features)
