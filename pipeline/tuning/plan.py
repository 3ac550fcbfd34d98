"""What a search is asked for: how many trials, on what they are judged, and what may vary."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

STUDY_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$"


class SearchSpec(BaseModel, frozen=True, extra="forbid"):
    """A search on the validation ranges of an experiment's first folds."""

    trials: int = Field(30, ge=1, le=100_000, description="Trials that the study has in the end, with former ones")
    study: str | None = Field(
        None,
        pattern=STUDY_NAME,
        description="Name of the study to begin or go on with; empty: from what is searched",
    )
    folds: int = Field(3, ge=1, description="The first folds, K, whose validation chooses; the rest is for testing")
    seeds: int = Field(1, ge=1, le=100, description="Networks per fold in a trial: their mean is judged")
    space: Mapping[str, Any] = Field(
        default_factory=dict,
        description="What is searched: dotted name = {low, high, log, step} or a list of choices; empty: the usual",
    )
