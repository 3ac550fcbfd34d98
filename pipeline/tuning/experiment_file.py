"""Writes an experiment as a TOML file that `tapecast run --experiment` reads back as the same experiment."""

import json
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.errors import TapecastError
from pipeline.experiment import Experiment
from pipeline.files import write_whole


def write_experiment(path: Path, experiment: Experiment, comments: tuple[str, ...]) -> None:
    """Write the experiment with comments above it, whole or not at all; raises UsageError where it cannot be written.

    Settings that are None are omitted, as TOML has no null.
    """
    header = "".join(f"# {line}\n" for text in comments for line in text.splitlines())
    text = f"{header}\n{toml_of(experiment.model_dump(mode='json'))}"
    if Experiment.model_validate(tomllib.loads(text)) != experiment:
        raise TapecastError(f"the experiment for {path} would be read back as a different one; expected the same")
    write_whole(path, text.encode())


def toml_of(values: Mapping[str, Any]) -> str:
    """Return plain nested values as TOML: first single values, then a table for each mapping; None is omitted."""
    return "\n".join(_lines(values, "")) + "\n"


def _lines(values: Mapping[str, Any], path: str) -> Iterator[str]:
    for name, value in values.items():
        if value is not None and not isinstance(value, Mapping):
            yield f"{_key(name)} = {_value(value)}"
    for name, value in values.items():
        if isinstance(value, Mapping):
            inner = f"{path}.{_key(name)}" if path else _key(name)
            yield from ("", f"[{inner}]", *_lines(value, inner))


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("_", "").replace("-", "").isalnum()
    return name if bare else _text(name)


def _value(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_value, value))}]"
    if isinstance(value, Mapping):  # within a list
        return "{" + ", ".join(f"{_key(key)} = {_value(item)}" for key, item in value.items() if item is not None) + "}"
    return repr(value) if isinstance(value, int | float) and not isinstance(value, bool) else _word(value)


def _word(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else _text(str(value))


def _text(text: str) -> str:
    """Return a basic string: JSON's escapes are TOML's, except that TOML requires the delete character escaped."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
