"""Where an audit looks from: the borders of every fold, the origins just before its first test, and others."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Sessions
from pipeline.audit.specification import AuditSpec
from pipeline.dataset.folds import Fold
from pipeline.errors import UsageError


@dataclass(frozen=True)
class Origin:
    """A session to look from, and what is special about it."""

    session: np.datetime64
    why: str
    holed: bool = False  # a ticker's bar of this session is taken out, in the original and in every copy

    def __str__(self) -> str:
        return f"{self.session} ({self.why})"


@dataclass(frozen=True)
class _Place:
    """A session index, its fold (0: the latest) and which of a fold's places it is."""

    index: int
    fold: int
    kind: int
    why: str
    holed: bool = False


def chosen_origins(folds: Sequence[Fold], sessions: Sessions, horizons: int, spec: AuditSpec) -> tuple[Origin, ...]:
    """Return the origins of an audit in time's order, each session once, the last one of all never.

    Of every fold: the last session of training, of validation and of calibration, the H sessions before its first test
    origin and that one; and `spec.others` amid the latest folds' tests, each with a hole. With `spec.origins` there
    are at most as many, of one kind after the other and from one fold after the other. Raises UsageError where there
    is no later session to replace.
    """
    places: dict[int, _Place] = {}
    for place in sorted(_places(folds, horizons, spec), key=lambda one: ((one.fold - one.kind) % len(folds), one.kind)):
        if 0 <= place.index < len(sessions) - 1:
            places.setdefault(place.index, place)
    if not places:
        raise UsageError(f"found no session after the folds' borders up to {sessions[-1]}; bring more bars")
    kept = sorted([*places.values()][: spec.origins], key=lambda one: one.index)
    return tuple(Origin(sessions[one.index], one.why, one.holed) for one in kept)


def _places(folds: Sequence[Fold], horizons: int, spec: AuditSpec) -> list[_Place]:
    found = [place for number, fold in enumerate(reversed(folds)) for place in _of_fold(fold, number, horizons)]
    draws = np.random.default_rng(spec.seed)
    latest_first = [*reversed(folds)]
    for turn in range(spec.others):
        number = (turn + 3) % len(folds)
        fold = latest_first[number]
        index = int(draws.integers(fold.test.start + 1, max(fold.test.stop - 1, fold.test.start + 2)))
        found.append(_Place(index, number, 3, f"amid the test of {fold.name}, a bar taken out", holed=True))
    return found


def _of_fold(fold: Fold, number: int, horizons: int) -> list[_Place]:
    """Return a fold's own places; the first kinds are those that only one of its sessions can show."""
    first = fold.test.start
    places = [
        _Place(first, number, 0, f"first test origin of {fold.name}"),
        _Place(first - 1, number, 1, f"the session before the test of {fold.name}"),
        _Place(fold.train.stop - 1, number, 2, f"last training session of {fold.name}"),
        *(
            _Place(first - h, number, 3 + horizons - h + 1, f"{h} sessions before the test of {fold.name}")
            for h in range(horizons, 1, -1)
        ),
    ]
    if len(fold.calibration):
        last = fold.validation.stop - 1
        places.append(_Place(last, number, 4 + horizons, f"last validation session of {fold.name}"))
    return places
