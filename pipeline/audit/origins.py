"""The specification of an audit, and its origins: fold borders, the origins before a test, and others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, Field

from pipeline.arrays import Sessions
from pipeline.dataset.folds import Fold
from pipeline.errors import UsageError


class AuditSpec(BaseModel, frozen=True, extra="forbid"):
    """The number of origins, and how long networks train: whether there is a leak does not depend on the latter."""

    origins: int | None = Field(
        None,
        ge=1,
        description="Most origins to audit, spread over folds and borders; empty: of every fold the last session of "
        "each range, the H sessions before its first test origin, that origin itself, and the others",
    )
    others: int = Field(3, ge=0, description="Further origins, each within a fold's test")
    training_steps: int = Field(16, ge=4, description="Gradient steps of a network in the audit")
    every_forecaster: bool = Field(False, description="Also the experiment's benchmarks beyond those of every run")
    seed: int = Field(0, ge=0, description="Seed of the garbage and of the other origins")


@dataclass(frozen=True)
class AuditOrigin:
    """An origin that is audited, and why it was chosen."""

    session: np.datetime64
    why: str
    holed: bool = False  # one ticker's bar of this session is removed, in the original and in every tampered copy

    def __str__(self) -> str:
        return f"{self.session} ({self.why})"


@dataclass(frozen=True)
class _Candidate:
    """A session index, its fold (0: the latest) and its kind: which of a fold's special sessions it is."""

    index: int
    fold: int
    kind: int
    why: str
    holed: bool = False


def audit_origins(folds: Sequence[Fold], sessions: Sessions, horizons: int, spec: AuditSpec) -> tuple[AuditOrigin, ...]:
    """Return the origins of an audit, oldest first, each session once and never the last session of all.

    Of every fold: the last session of training, of validation and of calibration, the H sessions before its first test
    origin and that origin; and `spec.others` within the latest folds' tests, each with a hole. With `spec.origins` at
    most that many are kept, alternating over the kinds and over the folds. Raises UsageError where there is no later
    session to replace.
    """
    candidates = _candidates(folds, horizons, spec)
    by_index: dict[int, _Candidate] = {}
    for candidate in sorted(candidates, key=lambda item: ((item.fold - item.kind) % len(folds), item.kind)):
        if 0 <= candidate.index < len(sessions) - 1:
            by_index.setdefault(candidate.index, candidate)
    if not by_index:
        raise UsageError(f"found no session after the folds' borders up to {sessions[-1]}; bring more bars")
    kept = sorted([*by_index.values()][: spec.origins], key=lambda candidate: candidate.index)
    return tuple(AuditOrigin(sessions[candidate.index], candidate.why, candidate.holed) for candidate in kept)


def _candidates(folds: Sequence[Fold], horizons: int, spec: AuditSpec) -> list[_Candidate]:
    candidates = [
        candidate
        for number, fold in enumerate(reversed(folds))
        for candidate in _candidates_of_fold(fold, number, horizons)
    ]
    draws = np.random.default_rng(spec.seed)
    latest_first = [*reversed(folds)]
    for turn in range(spec.others):
        number = (turn + 3) % len(folds)
        fold = latest_first[number]
        index = int(draws.integers(fold.test.start + 1, max(fold.test.stop - 1, fold.test.start + 2)))
        candidates.append(_Candidate(index, number, 3, f"within the test of {fold.name}, a bar removed", holed=True))
    return candidates


def _candidates_of_fold(fold: Fold, number: int, horizons: int) -> list[_Candidate]:
    """Return a fold's own candidates; the first kinds are those that only one of its sessions can show."""
    first = fold.test.start
    candidates = [
        _Candidate(first, number, 0, f"first test origin of {fold.name}"),
        _Candidate(first - 1, number, 1, f"the session before the test of {fold.name}"),
        _Candidate(fold.train.stop - 1, number, 2, f"last training session of {fold.name}"),
        *(
            _Candidate(first - h, number, 3 + horizons - h + 1, f"{h} sessions before the test of {fold.name}")
            for h in range(horizons, 1, -1)
        ),
    ]
    if len(fold.calibration):
        last = fold.validation.stop - 1
        candidates.append(_Candidate(last, number, 4 + horizons, f"last validation session of {fold.name}"))
    return candidates
