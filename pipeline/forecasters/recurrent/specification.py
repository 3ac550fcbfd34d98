"""Specification of a recurrent network and its head: frozen values, free of torch."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, Field, model_validator

from pipeline.forecasters.training_specification import TrainingSpec


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
        "gru",
        description="Recurrent cell; rnncell is rnn unrolled by hand, concat is linear in input and state together, "
        "elman has no bias",
    )
    hidden_size: int = Field(32, ge=1, le=1024, description="Units per layer")
    num_layers: int = Field(1, ge=1, le=8, description="Stacked layers")
    nonlinearity: Literal["tanh", "relu"] = Field("tanh", description="Of the cells rnn and rnncell")
    bias: bool = Field(True, description="Whether the cell has bias terms")
    dropout: float = Field(0.5, ge=0.0, lt=1.0, description="Dropout after every layer while training")
    layer_norm: bool = Field(False, description="Layer normalisation of each layer's input (Ba, Kiros, Hinton 2016)")
    residual: bool = Field(False, description="Add a layer's input to its output, where the sizes agree")
    shape: Literal["many_to_many", "many_to_one", "one_to_one", "one_to_many"] = Field(
        "many_to_many", description="Which sessions are read, and at which of them the network outputs a forecast"
    )
    horizon_mode: Literal["direct", "decoder", "recursive"] = Field(
        "direct",
        description="All horizons at once, by a decoder unrolled over them, or by sampled paths of one-session steps",
    )
    sampled_paths: int = Field(256, ge=8, le=4096, description="Sampled paths per origin, where horizons are recursive")
    scope: Literal["universe", "ticker"] = Field(
        "universe", description="One network for all tickers, or one each; a new ticker is forecast by their mean"
    )
    embedding_size: int = Field(0, ge=0, le=64, description="Learned numbers per ticker; 0: none")
    head: HeadSpec = Field(default_factory=StudentHeadSpec, description="What is forecast, and by which loss")

    @model_validator(mode="after")
    def _one_to_many_unrolls(self) -> Self:
        if self.shape == "one_to_many" and self.horizon_mode == "direct":
            raise ValueError('shape one_to_many unrolls its answer; set horizon_mode to "decoder" or "recursive"')
        return self

    @property
    def reads_one(self) -> bool:
        """Whether the origin's session alone is read."""
        return self.shape in ("one_to_one", "one_to_many")

    @property
    def claims_level_or_direction(self) -> bool:
        """Whether its head forecasts a level or a direction, instead of a distribution of the return."""
        return self.head.kind in ("point", "direction")

    @property
    def flat(self) -> float | None:
        """Half the width of the class flat of a direction head, in units of the target; None for any other head."""
        return self.head.flat if isinstance(self.head, DirectionHeadSpec) else None


def lookback_of(spec: RecurrentSpec, training: TrainingSpec) -> int:
    """Return the sessions that a forecast reads before its origin, or with it where only many to one was learned."""
    return training.chunk_sessions if spec.shape == "many_to_one" else training.lookback_sessions


def supervised_from(spec: RecurrentSpec, training: TrainingSpec) -> int:
    """Return the first supervised session of a chunk: the one after the burn-in, or the last of many to one."""
    return training.chunk_sessions - 1 if spec.shape == "many_to_one" else training.burn_in_sessions
