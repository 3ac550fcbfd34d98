"""Publishing, promoting, rolling back and pruning in any order: aliases stay valid and the last versions runnable."""

import tempfile
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from pipeline.errors import UsageError
from pipeline.operation.aliases import Aliases, read_aliases
from pipeline.operation.model import DAILY
from pipeline.operation.model_versions import KEPT_VERSIONS, promote, prune, publish, read_version, rollback, versions
from pipeline.operation.takeover import FIRST, Takeover
from pipeline.training.jobs import FitResult

from .fitted_models import NOW, small_fits, trained

REFUSED = Takeover(False, "Not the champion: XNYS: it is worse.")
CALENDARS = ("XNYS", "24/7")


class Versions(RuleBasedStateMachine):
    """The versions of one name next to a plain model of them: number -> calendar -> market members."""

    results: ClassVar[list[FitResult]]

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.models = Path(self.folder.name)
        self.expected: dict[int, dict[str, tuple[str, ...]]] = {}
        self.champion: int | None = None
        self.previous: int | None = None
        self.published = 0

    def teardown(self) -> None:
        self.folder.cleanup()

    @initialize(count=st.integers(0, KEPT_VERSIONS + 2))
    def several(self, count: int) -> None:
        for _ in range(count):
            self.publishes("XNYS", True)

    @rule(calendar=st.sampled_from(CALENDARS), accepted=st.booleans())
    def publishes(self, calendar: str, accepted: bool) -> None:
        members = (f"T{len(self.expected)}", f"N{self.published}")
        decision = FIRST if accepted else REFUSED
        version = publish(self.models, DAILY, [trained(members, self.results, calendar)], NOW, decision)
        self.published += 1
        assert version.number == self.published
        former = self.expected[self.champion] if self.champion else {}
        self.expected[version.number] = {**former, calendar: members}
        if accepted:
            self.champion, self.previous = version.number, self.champion or self.previous

    @precondition(lambda self: self.published)
    @rule(data=st.data())
    def promotes(self, data: st.DataObject) -> None:
        number = data.draw(st.integers(1, self.published))
        if number not in self.expected:
            with pytest.raises(UsageError, match=f"no version {number}"):
                promote(self.models, DAILY, number)
            return
        promote(self.models, DAILY, number)
        if number != self.champion:
            self.champion, self.previous = number, self.champion or self.previous

    @rule()
    def rolls_back(self) -> None:
        if self.previous is None:
            with pytest.raises(UsageError):
                rollback(self.models, DAILY)
            return
        rollback(self.models, DAILY)
        self.champion, self.previous = self.previous, self.champion or self.previous

    @precondition(lambda self: self.published)
    @rule(keep=st.sampled_from((1, 2, KEPT_VERSIONS)))
    def prunes(self, keep: int) -> None:
        kept = {*sorted(self.expected)[-keep:], self.champion, self.previous}
        gone = [number for number in self.expected if number not in kept]
        assert list(prune(self.models, DAILY, keep).numbers) == gone
        for number in gone:
            del self.expected[number]

    @invariant()
    def everything_is_there(self) -> None:
        found = read_aliases(self.models / DAILY)
        assert found == Aliases(self.champion, self.previous)
        assert {*found.numbers} <= {*self.expected}
        if self.published:
            assert [it.number for it in versions(self.models, DAILY)] == sorted(self.expected)
        for number in {*sorted(self.expected)[-KEPT_VERSIONS:], *found.numbers}:
            models = read_version(self.models, DAILY, number).models
            assert {name: model.market_members for name, model in models.items()} == self.expected[number]
            assert all(model.fits for model in models.values())


def test_any_order(tmp_path: Path) -> None:
    Versions.results = small_fits(tmp_path, ("climatology",))
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Versions,
        settings=settings(
            max_examples=12,
            stateful_step_count=12,
            deadline=None,
            derandomize=True,
            phases=(Phase.explicit, Phase.generate),  # to make a failing example smaller would take minutes
        ),
    )
