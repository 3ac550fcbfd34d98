"""Gradient boosted trees by the pinball loss, fitted by LightGBM and stored as its text."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, Field

from pipeline.arrays import Array, Bytes, Floats32
from pipeline.dataset.folds import Range
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask, origin_scale, refuse_no_labels, scaled_target
from pipeline.errors import FitError, UsageError
from pipeline.forecasters.forecaster import (
    DEFAULT_FEATURES,
    LEVELS,
    FitData,
    Fitted,
    Forecaster,
    Parameters,
    own_features,
)
from pipeline.forecasters.unit_quantiles import rearranged


class BoostingSpec(BaseModel, frozen=True, extra="forbid"):
    """Gradient boosted trees by the pinball loss, one sum of trees per level; the horizon is one of its features."""

    kind: Literal["boosting"] = "boosting"
    features: tuple[str, ...] = Field(DEFAULT_FEATURES, min_length=1, description="What the trees read")
    max_rows: int = Field(500_000, ge=100, description="Rows (origin and horizon) drawn from the training range")
    max_rounds: int = Field(150, ge=1, le=1000, description="Most trees per level; validation chooses how many")
    leaves: int = Field(16, ge=2, le=256, description="Leaves per tree")
    min_leaf_rows: int = Field(1000, ge=1, description="Training rows per leaf at least")
    learning_rate: float = Field(0.1, gt=0.0, le=1.0, description="Share of each tree that is added")


LabelledRows = tuple[Floats32, Floats32]
"""Features with the horizon as the last [row, feature + 1], and scaled targets [row]."""

MAX_VALIDATION_ROWS = 50_000
PATIENCE_ROUNDS = 10  # rounds without a smaller validation loss after which a level stops
MAX_BINS = 63  # per feature: on the validation ranges of the benchmark panels better than LightGBM's 255
CONSTANTS, DIGEST = "constant", "sha256"


def fit(spec: BoostingSpec, data: FitData) -> Parameters:
    """Return the trees of every level, and the constants [level] they are added to.

    Friedman (2001), algorithm 1 with the pinball loss. The target is y_h / (vol sqrt(h)); rows of all horizons are
    learned together, with the horizon as the last feature. The validation range chooses the number of trees, and
    nothing else is learned there. Raises FitError when a range has no label.
    """
    frames, fold, draws = data.frames, data.fold, np.random.default_rng(data.seed)
    learn = _drawn_rows(frames, fold.train, spec.max_rows, draws)
    judge = _drawn_rows(frames, fold.validation, MAX_VALIDATION_ROWS, draws)
    constants = np.quantile(learn[1], LEVELS).astype(np.float32)
    with _lightgbm_on_one_thread() as lightgbm:
        texts = _boosted(lightgbm, _settings(spec, data.seed), spec.max_rounds, constants, learn, judge)
    arrays: dict[str, Array] = {CONSTANTS: constants, **{_name(level): text for level, text in enumerate(texts)}}
    return Parameters({**arrays, DIGEST: _digest(arrays)})


def _name(level: int) -> str:
    return f"q{round(100 * LEVELS[level]):02d}"


def _drawn_rows(frames: Frames, part: Range, most: int, draws: np.random.Generator) -> LabelledRows:
    known = label_mask(frames, part)
    refuse_no_labels(known, part)
    rows = np.flatnonzero(known)
    if len(rows) > most:
        rows = np.sort(draws.choice(rows, most, replace=False))
    ticker, session, horizon = np.unravel_index(rows, known.shape)
    read = np.column_stack([frames.features[ticker, session], (horizon + 1).astype(np.float32)])
    return read, scaled_target(frames)[ticker, session, horizon]


@contextmanager
def _lightgbm_on_one_thread() -> Iterator[Any]:
    """Yield LightGBM; sums then have one order, and no threads are left behind.

    Raises UsageError where the OpenMP runtime is missing: LightGBM's wheel brings none, and slim images have none.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # noqa: PLC0415

    try:
        lightgbm = import_module("lightgbm")  # heavy
    except OSError as error:
        raise UsageError(
            f"the benchmark boosting cannot load LightGBM: {error}; install the OpenMP runtime (on Debian and Ubuntu "
            "the package libgomp1) or leave the benchmark out"
        ) from error
    with threadpool_limits(1):  # only now: it limits the libraries that are loaded
        yield lightgbm


def _settings(spec: BoostingSpec, seed: int) -> dict[str, Any]:
    """Return LightGBM's parameters; with them and one thread the same rows give the same bits."""
    return {
        "objective": "quantile",
        "learning_rate": spec.learning_rate,
        "num_leaves": spec.leaves,
        "min_data_in_leaf": spec.min_leaf_rows,
        "max_bin": MAX_BINS,
        "boost_from_average": False,  # the constants are ours, so that a level may do without any tree
        "deterministic": True,
        "force_row_wise": True,  # by default both ways are timed, and the quicker one is taken
        "num_threads": 1,
        "seed": seed,
        "use_quantized_grad": True,  # quicker, and nothing is lost: a pinball gradient has two values
        "stochastic_rounding": False,
        "verbosity": -1,
    }


def _boosted(
    lightgbm: Any,
    settings: dict[str, Any],
    max_rounds: int,
    constants: Floats32,
    learn: LabelledRows,
    judge: LabelledRows,
) -> list[Bytes]:
    """Return each level's trees up to the round with the smallest validation loss, as text."""
    binned = lightgbm.Dataset(*learn, params=settings)  # once for all levels, which start from other constants
    checked = lightgbm.Dataset(*judge, reference=binned, params=settings)
    texts = []
    for level, constant in zip(LEVELS, constants, strict=True):
        for rows, (_, target) in ((binned, learn), (checked, judge)):
            rows.set_init_score(np.full(len(target), constant, dtype=np.float64))
        model = lightgbm.train(
            {**settings, "alpha": level},
            binned,
            max_rounds,
            valid_sets=[checked],
            callbacks=[lightgbm.early_stopping(PATIENCE_ROUNDS, verbose=False)],
        )
        # LightGBM keeps the trees up to the best round.
        smallest = model.best_score["valid_0"]["quantile"]
        helped = smallest < _pinball(level, judge[1].astype(np.float64) - constant)
        text = model.model_to_string() if helped else ""
        texts.append(np.frombuffer(text.encode(), dtype=np.uint8))
    return texts


def _pinball(level: float, error: np.ndarray) -> float:
    return float(np.maximum(level * error, (level - 1) * error).mean())


def _digest(arrays: Mapping[str, Array]) -> Bytes:
    """Return the SHA-256 [32] of the constants and trees: LightGBM's parser ends the process on a damaged text."""
    content = b"".join(arrays[name].tobytes() for name in (CONSTANTS, *map(_name, range(len(LEVELS)))))
    return np.frombuffer(hashlib.sha256(content).digest(), dtype=np.uint8)


def quantiles(_spec: BoostingSpec, fitted: Fitted, frames: Frames, origins: slice) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level], sorted over the levels.

    Raises FitError where the trees are not those that were fitted, or LightGBM cannot read them.
    """
    horizons, volatility = fitted.horizons, frames.volatility[:, origins]
    rows = frames.features[:, origins].reshape(volatility.size, -1)  # [ticker x origin, feature]
    scaled = np.empty((*volatility.shape, horizons, len(LEVELS)), dtype=np.float32)
    with _lightgbm_on_one_thread() as lightgbm:
        models = _models(lightgbm, fitted.arrays)
        for h in range(horizons):
            read = np.column_stack([rows, np.full(len(rows), h + 1, dtype=np.float32)])
            for level, model in enumerate(models):
                added = model.predict(read, num_threads=1) if model else np.zeros(len(rows))
                scaled[:, :, h, level] = (fitted.arrays[CONSTANTS][level] + added).reshape(volatility.shape)
    return rearranged(scaled) * origin_scale(volatility, horizons)[..., None]


def _models(lightgbm: Any, arrays: Mapping[str, Array]) -> list[Any]:
    """Return each level's trees as LightGBM reads them, None where it has none; raises FitError."""
    try:
        if not np.array_equal(_digest(arrays), arrays[DIGEST]):
            raise FitError(
                "found trees of boosting that do not have the stored digest, expected those that were fitted; delete "
                "the damaged fit and run again"
            )
        texts = [arrays[_name(level)].tobytes().decode() for level in range(len(LEVELS))]
        return [lightgbm.Booster(model_str=text) if text else None for text in texts]
    except (KeyError, lightgbm.basic.LightGBMError) as error:
        raise FitError(
            f"cannot read the trees of boosting: {error}; expected those that were fitted; delete the fit and run again"
        ) from error


FORECASTER = Forecaster(BoostingSpec, fit, quantiles, "benchmark", features=own_features)
