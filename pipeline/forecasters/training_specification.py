"""Specification of the training that the forecasters of a run share: a frozen value, free of torch."""

from typing import Literal, Self

from pydantic import BaseModel, Field, model_validator

from pipeline.dataset.folds import FoldSpec
from pipeline.errors import UsageError


class TrainingSpec(BaseModel, frozen=True, extra="forbid"):
    """Gradient steps on drawn chunks, supervised after their burn-in, and when to stop."""

    epochs: int = Field(3, ge=1, description="Passes over the supervised sessions, within the two bounds on steps")
    min_steps: int = Field(60, ge=1, description="Fewest gradient steps, however small the panel")
    max_steps: int = Field(200, ge=1, description="Most gradient steps, however large the panel")
    optimizer: Literal["adamw", "adam", "sgd"] = Field("adamw", description="Optimiser")
    schedule: Literal["one_cycle", "constant"] = Field("one_cycle", description="Learning rate schedule")
    learning_rate: float = Field(4e-3, gt=0.0, description="Learning rate, the peak of a one-cycle schedule")
    weight_decay: float = Field(1e-2, ge=0.0)
    batch_chunks: int = Field(32, ge=1, description="Chunks per step")
    chunk_sessions: int = Field(160, ge=2, description="Sessions in one training sequence")
    burn_in_sessions: int = Field(40, ge=0, description="First sessions of a chunk that are read but not supervised")
    truncate_sessions: int | None = Field(
        None, ge=1, description="Sessions that one step goes back in time within a chunk; empty: the whole chunk"
    )
    volatility_power: float = Field(
        0.0, ge=0.0, le=2.0, description="Weight of an origin: its volatility to this power; 1 is the loss in returns"
    )
    gradient_clip: float = Field(1.0, gt=0.0, description="Largest gradient norm")
    averaging: float = Field(0.9, ge=0.0, lt=1.0, description="Decay of the exponential average of the weights")
    warm_start: bool = Field(False, description="Start each fold with the weights of the previous one")
    warm_share: float = Field(0.5, gt=0.0, le=1.0, description="Share of the steps taken from there")
    deterministic: bool = Field(True, description="Bit-identical results on a GPU too, at some cost in speed")
    validation_checks: int = Field(8, ge=1, description="Checks on the validation range, evenly spaced over the steps")
    patience_checks: int = Field(8, ge=1, description="Checks without a better one after which training stops")
    lookback_sessions: int = Field(160, ge=1, description="Sessions read before the first origin of a forecast")

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.burn_in_sessions >= self.chunk_sessions:
            raise ValueError(
                f"burn_in_sessions {self.burn_in_sessions} must be smaller than chunk_sessions {self.chunk_sessions}"
            )
        if self.lookback_sessions < self.burn_in_sessions:
            raise ValueError(
                f"lookback_sessions {self.lookback_sessions} must be at least burn_in_sessions {self.burn_in_sessions}"
            )
        if self.min_steps > self.max_steps:
            raise ValueError(f"min_steps {self.min_steps} must not exceed max_steps {self.max_steps}")
        return self


def refuse_shared_validation(training: TrainingSpec, folds: FoldSpec) -> None:
    """Raise UsageError where a fold would start from weights that were chosen on part of its own validation range.

    A fold's validation range begins `refit_months` after the previous one's. Where it is longer than that, the previous
    fit, whose best weights are the start of this one, was chosen on rows that are to stop this one: its first
    validation checks are too good. No test row is involved, but early stopping and the validation losses are biased.
    """
    if training.warm_start and not folds.train_end and folds.validation_months > folds.refit_months:
        raise UsageError(
            f"found training.warm_start = true with folds.validation_months {folds.validation_months} and "
            f"folds.refit_months {folds.refit_months}: a fold would start from weights that were chosen on part of its "
            "own validation range; expected validation_months of at most refit_months, or warm_start = false"
        )
