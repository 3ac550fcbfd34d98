"""Specifications of forecasters: small frozen values, free of torch, that a form or a file can hold."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field

LEVELS = (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)
"""The quantile levels of every forecast."""
MEDIAN = LEVELS.index(0.50)


class RecurrentSpec(BaseModel, frozen=True, extra="forbid"):
    """A recurrent network over a ticker's sessions with one quantile head for all horizons."""

    kind: Literal["network"] = "network"
    cell: Literal["lstm", "gru", "rnn"] = Field("lstm", description="Recurrent cell")
    hidden_size: int = Field(48, ge=1, le=1024, description="Units per layer")
    num_layers: int = Field(1, ge=1, le=8, description="Stacked layers")
    nonlinearity: Literal["tanh", "relu"] = Field(
        "tanh", description="Of the plain rnn cell; the others have their own"
    )
    bias: bool = Field(True, description="Whether the cell has bias terms")
    dropout: float = Field(0.1, ge=0.0, lt=1.0, description="Dropout after every layer while training")


class LinearSpec(BaseModel, frozen=True, extra="forbid"):
    """Linear quantile regression on the HAR-like features, one weight vector per horizon and level."""

    kind: Literal["linear"] = "linear"
    features: tuple[str, ...] = (
        "log_volatility",
        "log_range",
        "volatility_5",
        "volatility_20",
        "volatility_60",
        "market_log_range",
        "log_return",
        "volume_surprise",
    )


class ClimatologySpec(BaseModel, frozen=True, extra="forbid"):
    """The ticker's training quantiles of the one-session return, scaled by sqrt(h)."""

    kind: Literal["climatology"] = "climatology"


class LastCloseSpec(BaseModel, frozen=True, extra="forbid"):
    """The last close with the last 20 sessions' volatility, normal."""

    kind: Literal["last_close"] = "last_close"


class DriftSpec(BaseModel, frozen=True, extra="forbid"):
    """As the last close, moved by the ticker's mean training return per session."""

    kind: Literal["drift"] = "drift"


class EwmaSpec(BaseModel, frozen=True, extra="forbid"):
    """The last close with an exponentially weighted volatility, Student t (RiskMetrics 1996, eq. 5.3)."""

    kind: Literal["ewma"] = "ewma"
    decay: float = Field(0.94, gt=0.0, lt=1.0)
    degrees_of_freedom: float = Field(5.0, gt=2.0)


BaselineSpec = ClimatologySpec | LastCloseSpec | DriftSpec | EwmaSpec | LinearSpec
ForecasterSpec = Annotated[RecurrentSpec | BaselineSpec, Field(discriminator="kind")]

BASELINES: tuple[BaselineSpec, ...] = (ClimatologySpec(), LastCloseSpec(), DriftSpec(), EwmaSpec(), LinearSpec())
