"""What pruning removed, by kind, as plain values: JSON, a table, and a sentence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from pipeline.wording import count_of
from pipeline.workflow.result import JsonObject

VERSIONS, STATES_KIND, DAY_FILES, REPORTS, FITS, LEFTOVERS, MLFLOW_RUNS, FLOW_RUNS = (
    "model versions",
    "states",
    "day files",
    "reports",
    "fits",
    "leftovers",
    "MLflow runs",
    "Prefect's flow runs",
)


@dataclass(frozen=True)
class Removed:
    """What went of one kind, and the disk space that it took.

    `note` says what else is to know, `problem` why something could not be removed.
    """

    kind: str
    count: int = 0
    freed_bytes: int = 0
    note: str = ""
    problem: str = ""


@dataclass(frozen=True)
class PruneResult:
    """What went of every kind; in a dry run, what would go."""

    dry_run: bool
    removed: tuple[Removed, ...]
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def freed_bytes(self) -> int:
        """The disk space of all that went."""
        return sum(it.freed_bytes for it in self.removed)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why something could not be removed, in sentences."""
        return tuple(f"{it.kind}: {it.problem}" for it in self.removed if it.problem)

    @property
    def status(self) -> str:
        """Return "ok", or "partial" where something could not be removed."""
        return "partial" if self.warnings else "ok"

    @property
    def sentence(self) -> str:
        """The result in words."""
        count, megabytes = sum(it.count for it in self.removed), self.freed_bytes / 1e6
        what = count_of(count, "item")
        return f"{what} would go: {megabytes:.1f} MB" if self.dry_run else f"{what} removed, {megabytes:.1f} MB freed"

    def as_json(self) -> JsonObject:
        """Return the object that --json prints."""
        values = {"status": self.status, "dry_run": self.dry_run, "freed_bytes": self.freed_bytes}
        rows = {"removed": [asdict(it) for it in self.removed], "warnings": list(self.warnings)}
        return {**values, "sentence": self.sentence, **rows, "seconds": self.seconds}

    def tables(self) -> Mapping[str, list[JsonObject]]:
        """Return a row per kind."""
        return {"removed": [asdict(it) for it in self.removed]} if self.removed else {}


def by_kind(found: Sequence[Removed]) -> tuple[Removed, ...]:
    """Return one line per kind, that of several models together."""
    kinds = dict.fromkeys(it.kind for it in found)
    return tuple(_together([it for it in found if it.kind == kind]) for kind in kinds)


def _together(same: Sequence[Removed]) -> Removed:
    return Removed(
        kind=same[0].kind,
        count=sum(it.count for it in same),
        freed_bytes=sum(it.freed_bytes for it in same),
        note=" ".join(it.note for it in same if it.note),
        problem=" ".join(it.problem for it in same if it.problem),
    )
