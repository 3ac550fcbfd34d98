"""The experiment that a command describes: a TOML file, overridden by options; errors say what was meant."""

import difflib
import tomllib
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pipeline.errors import UsageError
from pipeline.experiment import Experiment
from pipeline.files import refuse_unwritable
from pipeline.market.specification import SourceSpec, StoredSource, known_at
from pipeline.settings import Settings
from pipeline.training.devices import choose_device

Values = dict[str, Any]
Overrides = Mapping[str, Any]


def read_experiment(path: Path | None, overrides: Overrides) -> Experiment:
    """Return the experiment of a TOML file (or the default one) with overrides; raises UsageError naming each fault.

    A further table [search] is for `tapecast tune` alone.
    """
    values = merged_tables(read_toml(path) if path else {}, overrides)
    values.pop("search", None)
    try:
        return Experiment.model_validate(values)
    except ValidationError as error:
        where = f"{path}: " if path else ""
        raise UsageError(where + "; ".join(sentence(fault) for fault in error.errors())) from error


def as_known_at(experiment: Experiment, as_known: datetime | None) -> Experiment:
    """Return the experiment on prices as known at an instant; the store's where no source was named."""
    if as_known is None:
        return experiment
    named = experiment.source if "source" in experiment.model_fields_set else StoredSource()
    return experiment.model_copy(update={"source": known_at(named, as_known)})


def usable(experiment: Experiment, out: Path | None, writes: bool = True) -> Experiment:
    """Return the experiment if it passes the checks that can be made at once, before a server is started.

    Raises UsageError for a device, a file or a folder that is not there or cannot be used; the home has to be one that
    can be written where `writes` says so.
    """
    choose_device(experiment.device) if experiment.device == "cuda" else None
    refuse_missing_file(experiment.source)
    for folder in (*([Settings().root] if writes else []), *([out] if out else [])):
        refuse_unwritable(folder)
    return experiment


def refuse_missing_file(source: SourceSpec) -> None:
    """Raise UsageError where a source of files has none."""
    if source.kind == "files" and not source.path.exists():
        raise UsageError(f"no file or folder {source.path}; expected a CSV, a Parquet file or a folder")


def read_toml(path: Path) -> Values:
    """Return the values of a TOML file; raises UsageError where it cannot be read."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"no experiment file {path}; expected a TOML file, see the README for one") from error
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read the experiment file {path}: {error}; expected TOML") from error


def merged_tables(values: Mapping[str, Any], overrides: Mapping[str, Any]) -> Values:
    """Return values with overrides on top, tables merged; a source of another kind replaces the whole table."""
    result = dict(values)
    for name, value in overrides.items():
        former = result.get(name)
        if isinstance(value, dict) and isinstance(former, dict) and value.get("kind") in (None, former.get("kind")):
            result[name] = merged_tables(former, value)
        else:
            result[name] = value
    return result


def sentence(fault: Any) -> str:
    """Return one fault in words: where, what was found, what was expected."""
    place = ".".join(str(part) for part in fault["loc"]) or "experiment"
    if fault["type"] == "extra_forbidden":
        return f"unknown key {place}{did_you_mean(fault['loc'])}"
    found = "" if fault["type"] == "missing" else f", found {fault['input']!r}"
    return f"{place}: {fault['msg'].removeprefix('Value error, ')}{found}"


def did_you_mean(place: tuple[int | str, ...]) -> str:
    """Return a suggestion for an unknown key, or the keys that are known there."""
    known = keys_at(place[:-1])
    near = difflib.get_close_matches(str(place[-1]), known, n=1)
    return f"; did you mean {near[0]}?" if near else f"; expected one of {', '.join(known)}"


def keys_at(place: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the table at a place within an experiment."""
    models: list[Any] = [Experiment]
    for part in (part for part in place if isinstance(part, str)):  # every entry of a list may hold the same
        fields = [model.model_fields[part].annotation for model in models if part in model.model_fields]
        tagged = [model for model in models if tag_of(model) == part]
        inner = [model for annotation in fields for model in models_in(annotation)]
        models = tagged or inner or models  # a tag that no model carries stands for all of them
    return sorted({name for model in models for name in model.model_fields})


def models_in(annotation: Any) -> list[Any]:
    """Return the models that a field may hold."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for argument in get_args(annotation) for model in models_in(argument)]


def tag_of(model: Any) -> str | None:
    """Return the kind that a model stands for, or None."""
    kind = model.model_fields.get("kind")
    return kind.default if kind else None
