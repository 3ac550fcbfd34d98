"""Specifications of forecasters: small frozen values, free of torch, that a form or a file can hold."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from pipeline.models.rivals import RivalSpec

LEVELS = (0.05, 0.10, 0.25, 0.50, 0.75, 0.90, 0.95)
"""The quantile levels of every forecast."""
MEDIAN = LEVELS.index(0.50)


class QuantileHeadSpec(BaseModel, frozen=True, extra="forbid"):
    """Quantiles that cannot cross, learned by the pinball loss."""

    kind: Literal["quantiles"] = "quantiles"


class PointHeadSpec(BaseModel, frozen=True, extra="forbid"):
    """One value per horizon; its bands are the residuals' quantiles on the validation range."""

    kind: Literal["point"] = "point"
    loss: Literal["mse", "huber"] = Field("mse", description="Mean squared error, or Huber's loss")
    huber_delta: float = Field(1.0, gt=0.0, description="Where Huber's loss turns linear, in units of the target")


class StudentHeadSpec(BaseModel, frozen=True, extra="forbid"):
    """A Student t with location, scale and degrees of freedom of its own at every origin, by maximum likelihood."""

    kind: Literal["student_t"] = "student_t"


class MixtureHeadSpec(BaseModel, frozen=True, extra="forbid"):
    """A mixture of normals, by maximum likelihood."""

    kind: Literal["mixture"] = "mixture"
    components: int = Field(3, ge=2, le=16, description="Normals in the mixture")


class DirectionHeadSpec(BaseModel, frozen=True, extra="forbid"):
    """Classes down, flat and up, by the negative log-likelihood; bands from each class's outcomes in validation."""

    kind: Literal["direction"] = "direction"
    flat: float = Field(0.25, gt=0.0, description="Half the width of the class flat, in units of the target")


HeadSpec = Annotated[
    QuantileHeadSpec | PointHeadSpec | StudentHeadSpec | MixtureHeadSpec | DirectionHeadSpec,
    Field(discriminator="kind"),
]


class RecurrentSpec(BaseModel, frozen=True, extra="forbid"):
    """A recurrent network over a ticker's sessions, with one head for all horizons.

    The shape says what is read and where the network answers: many sessions, answered at every one (many to many) or
    at the last alone (many to one); or the origin's session alone, answered at once (one to one) or unrolled over the
    horizons (one to many).
    """

    kind: Literal["network"] = "network"
    cell: Literal["lstm", "gru", "rnn", "rnncell", "concat", "elman"] = Field(
        "lstm",
        description="Recurrent cell; rnncell is rnn unrolled by hand, concat is linear in input and state together, "
        "elman has no bias",
    )
    hidden_size: int = Field(48, ge=1, le=1024, description="Units per layer")
    num_layers: int = Field(1, ge=1, le=8, description="Stacked layers")
    nonlinearity: Literal["tanh", "relu"] = Field("tanh", description="Of the cells rnn and rnncell")
    bias: bool = Field(True, description="Whether the cell has bias terms")
    dropout: float = Field(0.1, ge=0.0, lt=1.0, description="Dropout after every layer while training")
    layer_norm: bool = Field(False, description="Normalise what every layer reads (Ba, Kiros and Hinton 2016)")
    residual: bool = Field(False, description="Add what a layer reads to what it gives, where the sizes agree")
    shape: Literal["many_to_many", "many_to_one", "one_to_one", "one_to_many"] = Field(
        "many_to_many", description="What is read, and where the network answers"
    )
    ahead: Literal["direct", "decoder", "recursive"] = Field(
        "direct",
        description="All horizons at once, by a decoder unrolled over them, or by sampled paths of one-session steps",
    )
    paths: int = Field(256, ge=8, le=4096, description="Sampled paths per origin, where horizons are recursive")
    scope: Literal["universe", "ticker"] = Field(
        "universe", description="One network for all tickers, or one each; a new ticker is forecast by their mean"
    )
    embedding_size: int = Field(0, ge=0, le=64, description="Learned numbers per ticker; 0: none")
    head: HeadSpec = Field(default_factory=QuantileHeadSpec, description="What is forecast, and by which loss")

    @model_validator(mode="after")
    def _one_to_many_unrolls(self) -> Self:
        if self.shape == "one_to_many" and self.ahead == "direct":
            raise ValueError('shape one_to_many unrolls its answer; set ahead to "decoder" or "recursive"')
        return self

    @property
    def reads_one(self) -> bool:
        """Whether the origin's session alone is read."""
        return self.shape in ("one_to_one", "one_to_many")


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
ForecasterSpec = Annotated[RecurrentSpec | BaselineSpec | RivalSpec, Field(discriminator="kind")]

BASELINES: tuple[BaselineSpec, ...] = (ClimatologySpec(), LastCloseSpec(), DriftSpec(), EwmaSpec(), LinearSpec())
