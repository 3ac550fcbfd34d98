"""Specifications of the rivals: forecasters of other schools, run and scored through the same protocol."""

from datetime import date
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, Field

RIVAL_FEATURES = (
    "log_return",
    "overnight_gap",
    "open_to_close",
    "market_return",
    "log_range",
    "market_log_range",
    "close_location",
    "volume_surprise",
    "volatility_5",
    "volatility_20",
    "volatility_60",
    "log_volatility",
)


class GarchSpec(BaseModel, frozen=True, extra="forbid"):
    """GJR-GARCH(1,1) around a zero mean with Student t innovations, one per ticker."""

    kind: Literal["garch"] = "garch"


class HarSpec(BaseModel, frozen=True, extra="forbid"):
    """Log volatility ahead, regressed on its daily, weekly and monthly means, with residual quantiles."""

    kind: Literal["har"] = "har"
    features: tuple[str] = Field(("log_range",), description="The log of the session's volatility: one feature")


class RidgeSpec(BaseModel, frozen=True, extra="forbid"):
    """Location and log scale of the return by ridge regression, with residual quantiles."""

    kind: Literal["ridge"] = "ridge"
    features: tuple[str, ...] = Field(RIVAL_FEATURES, min_length=1, description="What the regressions read")
    penalties: tuple[float, ...] = Field(
        (1e-4, 1e-2, 1.0, 1e2), min_length=1, description="Penalties per training row that validation chooses from"
    )


class BoostingSpec(BaseModel, frozen=True, extra="forbid"):
    """Gradient boosted trees by the pinball loss, one sum of trees per level; the horizon is one of its features."""

    kind: Literal["boosting"] = "boosting"
    features: tuple[str, ...] = Field(RIVAL_FEATURES, min_length=1, description="What the trees read")
    most_rows: int = Field(600_000, ge=100, description="Rows (origin and horizon) drawn from the training range")
    most_rounds: int = Field(150, ge=1, le=1000, description="Trees per level at most; validation says how many")
    leaves: int = Field(16, ge=2, le=256, description="Leaves per tree")
    smallest_leaf: int = Field(1000, ge=1, description="Training rows per leaf at least")
    learning_rate: float = Field(0.1, gt=0.0, le=1.0, description="Share of each tree that is added")


class PretrainedSpec(BaseModel, frozen=True, extra="forbid"):
    """A pretrained Chronos model, used as it is; silent up to the last day that its training may have seen."""

    kind: Literal["pretrained"] = "pretrained"
    weights: Path = Field(description="Folder with config.json and model.safetensors")
    trained_until: date = Field(description="Last day its training data may hold; scored after it alone")
    context_sessions: int = Field(512, ge=16, le=8192, description="Sessions that it reads")


RivalSpec = GarchSpec | HarSpec | RidgeSpec | BoostingSpec | PretrainedSpec

RIVAL_KINDS = ("garch", "har", "ridge", "boosting", "pretrained")
