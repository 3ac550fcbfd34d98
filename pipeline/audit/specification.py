"""What a leak audit looks at, as a typed description."""

from pydantic import BaseModel, Field


class AuditSpec(BaseModel, frozen=True, extra="forbid"):
    """At how many origins, and how long the networks learn for it: a leak does not depend on that."""

    origins: int | None = Field(
        None,
        ge=1,
        description="Origins to look from, spread over folds and borders; empty: of every fold the last session of "
        "each range, the H sessions before its first test origin and that one, and the others",
    )
    others: int = Field(3, ge=0, description="Further origins, each amid a fold's test")
    training_steps: int = Field(16, ge=4, description="Gradient steps of a network in the audit")
    every_forecaster: bool = Field(
        False, description="Also those that are slow to fit: the linear one and the experiment's rivals"
    )
    seed: int = Field(0, ge=0, description="Seed of the garbage and of the other origins")
