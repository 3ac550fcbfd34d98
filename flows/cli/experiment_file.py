"""The experiment that a command describes: a TOML file, overridden by options; errors say what was meant."""

import difflib
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pipeline.errors import UsageError
from pipeline.experiment import Experiment

Values = dict[str, Any]


def read_experiment(path: Path | None, overrides: Mapping[str, Any]) -> Experiment:
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
