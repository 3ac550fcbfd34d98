"""Runs as they are recorded: started, written and ended as calls in the outbox, which a delivery makes to MLflow."""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from pipeline.experiment import Experiment
from pipeline.tracking.descriptions import (
    MAX_TAG_LENGTH,
    NOTE_TAG,
    RunKind,
    first_name,
    first_note,
    first_tags,
)
from pipeline.tracking.metrics import MetricValue, finite_values, flat_params
from pipeline.tracking.outbox import Journal

RunStatus = Literal["FINISHED", "FAILED", "KILLED"]

TABLES_TAG = "mlflow.loggedArtifacts"
"""Lists the artifacts that MLflow's pages show as tables."""


@dataclass(frozen=True)
class Record:
    """A run in a journal: the record's own (`path` is empty), or one below it, by the names that lead to it."""

    journal: Journal
    path: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """The record's id, which is not MLflow's."""
        return self.journal.header.id

    @property
    def name(self) -> str:
        """The path in one text, by which a journal knows the run."""
        return "\n".join(self.path)

    def child(self, name: str) -> "Record":
        """Return the run of a name below this one."""
        return Record(self.journal, (*self.path, name))

    def start(self, name: str, tags: Mapping[str, str], at: int | None = None, once: bool = False) -> None:
        """Start the run, at an instant in milliseconds since 1970 (default: now).

        With `once` one that ended in an earlier run of the same job stays as it is.
        """
        self._call("start", at, name=name, tags=dict(tags), once=once)

    def write(
        self,
        values: Iterable[MetricValue] = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        at: int | None = None,
    ) -> None:
        """Write metrics, params and tags; values that are not finite are left out, and long tags but the note cut."""
        metrics = [[value.key, float(value.value), value.step] for value in finite_values(values)]
        cut = {key: text if key == NOTE_TAG else text[:MAX_TAG_LENGTH] for key, text in (tags or {}).items() if text}
        self._call("log", at, metrics=metrics, params=dict(params or {}), tags=cut)

    @contextmanager
    def files(self) -> Iterator[Path]:
        """Return a context with a new folder, whose content becomes artifacts of the run."""
        with self.journal.files(self.name) as folder:
            yield folder

    def tables(self, tables: Iterable[tuple[str, pd.DataFrame]]) -> None:
        """Write tables (path of the artifact, frame) in the form that MLflow's pages show."""
        listed = []
        with self.files() as folder:
            for path, table in tables:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                table.to_json(folder / path, orient="split", index=False, date_format="iso")
                listed.append({"path": path, "type": "table"})
        self.write(tags={TABLES_TAG: json.dumps(listed)})

    def dataset(self, values: Mapping[str, str]) -> None:
        """Name the data that the run read; the values are those of MLflow's Dataset."""
        self._call("dataset", dataset=dict(values))

    def rename(self, name: str) -> None:
        """Give the run another name."""
        self._call("rename", name=name)

    def end(self, status: RunStatus, error: str = "", at: int | None = None, stranded: bool = False) -> None:
        """End the run; `error` is the reason of a failed one, `stranded` says that its process was killed."""
        self._call("end", at, status=status, error=error[:MAX_TAG_LENGTH], stranded=stranded)

    def _call(self, call: str, at: int | None = None, **values: Any) -> None:
        self.journal.append({"call": call, "run": self.name, "at": at or int(time.time() * 1000), **values})


def start_run(record: Record, kind: RunKind, experiment: Experiment) -> None:
    """Start a run with its experiment as params.

    The benchmarks are no params yet: which of them are fitted depends on the bars.
    """
    tags = {**first_tags(kind, experiment), NOTE_TAG: first_note(kind, experiment)}
    record.start(first_name(kind, experiment), tags)
    record.write(params=flat_params(experiment.model_dump(mode="json", exclude={"benchmarks"})))


def describe_run(record: Record, note: str, tags: Mapping[str, str]) -> None:
    """Write a run's description and tags."""
    record.write(tags={**tags, NOTE_TAG: note})


@contextmanager
def child_run(parent: Record, name: str, tags: Mapping[str, str]) -> Iterator[Record]:
    """Return a context with a run below another one, which ends with it: FAILED after an exception."""
    record = parent.child(name)
    record.start(name, tags, once=True)
    try:
        yield record
    except BaseException:
        record.end("FAILED")
        raise
    record.end("FINISHED")
