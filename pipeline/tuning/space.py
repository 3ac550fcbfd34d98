"""The search space: which settings of an experiment may vary, and over which values; free of optuna."""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from pipeline.errors import UsageError
from pipeline.experiment import Experiment

Value = str | int | float | bool

SEARCHED_TABLES = ("network", "training")
"""The tables of an experiment that may be searched: the others change which rows are forecast."""
RANGE_KEYS = {"low", "high", "log", "step"}


@dataclass(frozen=True)
class Interval:
    """Numbers from low to high, both included; optionally integers (`whole`), on a logarithmic scale, or in steps."""

    low: float
    high: float
    log: bool = False
    step: float | None = None
    whole: bool = False

    def contains(self, value: object) -> bool:
        """Return whether a value belongs to the dimension."""
        if isinstance(value, bool) or not isinstance(value, int | float) or not self.low <= value <= self.high:
            return False
        steps = (value - self.low) / self.step if self.step else 0.0
        return abs(steps - round(steps)) < 1e-9

    @property
    def ends(self) -> tuple[Value, ...]:
        """The lowest and the highest value."""
        return (self.low, self.high)


@dataclass(frozen=True)
class Choices:
    """A few values without an order."""

    values: tuple[Value, ...]

    def contains(self, value: object) -> bool:
        """Return whether a value belongs to the dimension."""
        return any(type(value) is type(choice) and value == choice for choice in self.values)

    @property
    def ends(self) -> tuple[Value, ...]:
        """All values."""
        return self.values


Dimension = Interval | Choices
Space = Mapping[str, Dimension]

DEFAULT_SPACE: Space = {
    "network.cell": Choices(("lstm", "gru")),
    "network.hidden_size": Interval(16, 128, log=True, whole=True),
    "network.num_layers": Interval(1, 2, whole=True),
    "network.dropout": Interval(0.0, 0.6),
    "training.learning_rate": Interval(1e-3, 1e-2, log=True),
    "training.weight_decay": Interval(1e-4, 1e-1, log=True),
    "training.batch_chunks": Interval(16, 64, log=True, whole=True),
    "training.chunk_sessions": Interval(120, 240, step=40, whole=True),
    "training.epochs": Interval(2, 8, whole=True),
    "training.max_steps": Interval(150, 600, log=True, whole=True),
}
"""The space that is searched without a `[search]` table."""


def space_of(table: Mapping[str, Any], base: Experiment) -> Space:
    """Return the space of a `[search]` table around an experiment; the default space for an empty table.

    `table` maps dotted names such as "training.learning_rate", or nested tables, to a range {low, high, log, step}
    or a list of choices. Raises UsageError naming what cannot be searched, what was found and what was expected.
    """
    if not table:
        return {name: dimension for name, dimension in DEFAULT_SPACE.items() if not _fault(name, dimension, base)}
    space = {name: _dimension(name, setting, base) for name, setting in _by_dotted_name(table, "")}
    faults = [fault for name, dimension in space.items() if (fault := _fault(name, dimension, base))]
    if faults:
        raise UsageError("; ".join(faults))
    return space


def with_values(base: Experiment, values: Mapping[str, Value]) -> Experiment:
    """Return the experiment with these values; raises UsageError where they are incompatible."""
    tables: dict[str, Any] = {name: getattr(base, name).model_dump() for name in SEARCHED_TABLES}
    for name, value in values.items():
        *path, last = name.split(".")
        inner = tables
        for part in path:
            inner = inner[part]
        if last == "kind" and inner.get(last) != value:
            inner.clear()  # each kind of head has its own settings
        inner[last] = value
    unchanged = {name: getattr(base, name) for name in type(base).model_fields if name not in SEARCHED_TABLES}
    try:
        return Experiment.model_validate({**unchanged, **tables})
    except ValidationError as error:
        raise UsageError("; ".join(fault["msg"].removeprefix("Value error, ") for fault in error.errors())) from error


def values_of(experiment: Experiment, space: Space) -> dict[str, Value]:
    """Return the experiment's values of the settings of a space, those that lie within it."""
    values = _leaves(experiment)
    return {name: values[name] for name, dimension in space.items() if dimension.contains(values[name])}


def values_outside(experiment: Experiment, space: Space) -> dict[str, Any]:
    """Return the experiment's values of the settings of a space that lie outside it: no trial has them."""
    values = _leaves(experiment)
    return {name: values[name] for name, dimension in space.items() if not dimension.contains(values[name])}


def describe_space(space: Space) -> dict[str, object]:
    """Return the space as plain JSON values, in the order of names."""
    return {
        name: list(dimension.values)
        if isinstance(dimension, Choices)
        else {"low": dimension.low, "high": dimension.high, "log": dimension.log, "step": dimension.step}
        for name, dimension in sorted(space.items())
    }


def _by_dotted_name(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield (dotted name, value); a table is a range where it has one of the keys of a range."""
    for key, value in table.items():
        if isinstance(value, Mapping) and value and not RANGE_KEYS & value.keys():
            yield from _by_dotted_name(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _dimension(name: str, setting: Any, base: Experiment) -> Dimension:
    leaves = _leaves(base)
    if name not in leaves:
        near = difflib.get_close_matches(name, leaves, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"expected one of {', '.join(leaves)}"
        raise UsageError(f"search: unknown name {name}; {hint}")
    if isinstance(setting, Mapping):
        return _interval(name, setting, _kinds(name, base))
    if isinstance(setting, Sequence) and not isinstance(setting, str):
        return _choices(name, setting)
    raise UsageError(
        f"search: {name}: found {setting!r}, expected a list of choices or a range {{low, high, log, step}}"
    )


def _choices(name: str, listed: Sequence[Any]) -> Choices:
    values = tuple(listed)
    if len(values) < 2 or len(set(values if _plain(values) else ())) != len(values):
        raise UsageError(f"search: {name}: found {list(values)!r}, expected two or more different values")
    return Choices(values)


def _plain(values: tuple[Any, ...]) -> bool:
    return all(isinstance(value, str | int | float | bool) for value in values)


def _interval(name: str, setting: Mapping[str, Any], kinds: set[type]) -> Interval:
    if not kinds & {int, float}:
        raise UsageError(f"search: {name}: found the range {dict(setting)!r}, expected a list of choices")
    if unknown := setting.keys() - RANGE_KEYS:
        raise UsageError(f"search: {name}: unknown key {min(unknown)}; expected low, high, log and step")
    log, step, whole = setting.get("log"), setting.get("step"), float not in kinds
    low, high = setting.get("low", ""), setting.get("high", "")
    if not all(_number(value, whole) for value in (low, high, *([] if step is None else [step]))):
        expected = "whole numbers" if whole else "numbers"
        raise UsageError(f"search: {name}: found {dict(setting)!r}, expected {expected} low and high")
    interval = Interval(low, high, bool(log), step, whole)
    if expected := _expected_instead(interval, log):
        raise UsageError(f"search: {name}: found {dict(setting)!r}, expected {expected}")
    return interval


def _expected_instead(interval: Interval, log: object) -> str:
    """Return what was expected instead of an invalid range; empty for a valid one."""
    if not interval.low < interval.high:
        return "low smaller than high"
    if not isinstance(log, bool | None):
        return "log = true or false"
    if interval.log and (interval.low <= 0 or interval.step is not None):
        return "low above 0 and no step on a logarithmic scale"
    return "a step above 0" if interval.step is not None and interval.step <= 0 else ""


def _number(value: object, whole: bool) -> bool:
    return not isinstance(value, bool) and isinstance(value, int if whole else (int, float))


def _fault(name: str, dimension: Dimension, base: Experiment) -> str:
    """Return why a dimension cannot be searched, tried at each end with all else unchanged; empty where it can."""
    if name not in _leaves(base):
        return f"search: unknown name {name}"
    for value in dimension.ends:
        try:
            tried = with_values(base, {name: value})
        except UsageError as error:
            return f"search: {name} = {value!r}: {error}"
        if _rows_read(tried) != _rows_read(base):
            return f"search: {name} changes which rows are forecast, so that trials could not be compared; leave it out"
    return ""


def _rows_read(experiment: Experiment) -> tuple[object, ...]:
    return (experiment.minimum_sessions, experiment.all_features, experiment.horizons)


def _leaves(experiment: Experiment) -> dict[str, Any]:
    """Return the value of every setting that may be searched, by its dotted name."""
    values = dict(_flat({name: getattr(experiment, name).model_dump() for name in SEARCHED_TABLES}, ""))
    return {name: value for name, value in values.items() if not isinstance(value, list | tuple)}


def _flat(values: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _kinds(name: str, base: Experiment) -> set[type]:
    """Return the declared types of a setting's field."""
    *path, last = name.split(".")
    model: BaseModel = base
    for part in path:
        model = getattr(model, part)
    annotation = type(model).model_fields[last].annotation
    return {kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)}
