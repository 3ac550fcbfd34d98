"""The search space: what a table may contain, and errors that suggest what was meant."""

import pytest

from pipeline.errors import UsageError
from pipeline.experiment import Experiment
from pipeline.tuning.space import (
    DEFAULT_SPACE,
    Choices,
    Interval,
    describe_space,
    space_of,
    values_of,
    values_outside,
    with_values,
)
from tests.panels import TINY


def test_a_table_may_be_dotted_or_nested() -> None:
    dotted = {"training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}, "network.cell": ["lstm", "gru"]}
    nested = {
        "training": {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}},
        "network": {"cell": ["lstm", "gru"]},
    }
    expected = {
        "training.learning_rate": Interval(1e-4, 1e-2, log=True),
        "network.cell": Choices(("lstm", "gru")),
    }
    assert space_of(dotted, Experiment()) == space_of(nested, Experiment()) == expected


def test_a_range_is_whole_where_the_setting_is() -> None:
    space = space_of({"network.hidden_size": {"low": 8, "high": 64, "step": 8}}, Experiment())
    assert space == {"network.hidden_size": Interval(8, 64, step=8, whole=True)}
    assert describe_space(space) == {"network.hidden_size": {"low": 8, "high": 64, "log": False, "step": 8}}


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"network.hiden_size": [1, 2]}, r"unknown name network\.hiden_size; did you mean network\.hidden_size\?"),
        ({"learning_rate": [1e-3, 1e-2]}, r"did you mean training\.learning_rate\?"),
        ({"training": {"lerning_rate": {"low": 1, "high": 2}}}, r"did you mean training\.learning_rate\?"),
        ({"zzz": [1, 2]}, r"expected one of network\.kind, network\.cell"),
        ({"horizons": [1, 2]}, "unknown name horizons"),
        ({"network.cell": ["lstm"]}, r"found \['lstm'\], expected two or more different values"),
        ({"network.cell": ["lstm", "lstm"]}, "expected two or more different values"),
        ({"network.cell": [["lstm"], "gru"]}, "expected two or more different values"),
        ({"network.cell": ["lstm", "transformer"]}, r"network\.cell = 'transformer': Input should be 'lstm'"),
        ({"network.cell": {"low": 1, "high": 2}}, "expected a list of choices"),
        ({"network.cell": "lstm"}, "found 'lstm', expected a list of choices or a range"),
        ({"network.hidden_size": {"low": 1.5, "high": 4}}, "expected whole numbers low and high"),
        ({"network.hidden_size": {"low": 8}}, "expected whole numbers low and high"),
        ({"network.hidden_size": {"low": 8, "high": 4}}, "expected low smaller than high"),
        ({"network.hidden_size": {"low": 0, "high": 4}}, r"network\.hidden_size = 0: Input should be greater"),
        ({"training.learning_rate": {"low": 0.0, "high": 1.0, "log": True}}, "low above 0 and no step"),
        ({"training.learning_rate": {"low": 0.1, "high": 1.0, "step": 0.0}}, "expected a step above 0"),
        ({"training.learning_rate": {"low": 0.1, "high": 1.0, "log": "yes"}}, "expected log = true or false"),
        ({"training.learning_rate": {"low": 0.1, "high": 1.0, "base": 2}}, "unknown key base; expected low, high"),
        ({"training.learning_rate": {"low": True, "high": 2}}, "expected numbers low and high"),
        ({"training.chunk_sessions": {"low": 20, "high": 90}}, "must be smaller than chunk_sessions 20"),
        ({"training.burn_in_sessions": [20, 40]}, "changes which rows are forecast"),
    ],
)
def test_what_cannot_be_searched_is_refused_by_name(table: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        space_of(table, Experiment())


def test_the_default_space_is_of_settings_that_exist() -> None:
    assert set(space_of({}, Experiment())) == set(DEFAULT_SPACE)
    assert values_of(Experiment(), DEFAULT_SPACE).keys() == DEFAULT_SPACE.keys(), "the search begins with the defaults"


def test_the_default_space_omits_what_is_incompatible_with_the_experiment() -> None:
    long = with_values(Experiment(), {"training.chunk_sessions": 200, "training.lookback_sessions": 150})
    read_longer = with_values(long, {"training.burn_in_sessions": 130})
    assert DEFAULT_SPACE.keys() - space_of({}, read_longer).keys() == {"training.chunk_sessions"}


def test_values_are_set_in_an_experiment_and_read_back() -> None:
    values = {"network.hidden_size": 5, "training.learning_rate": 0.02}
    changed = with_values(TINY, values)
    assert (changed.network.hidden_size, changed.training.learning_rate) == (5, 0.02)
    assert changed.model_copy(update={"network": TINY.network, "training": TINY.training}) == TINY
    space = {"network.hidden_size": Interval(2, 8, whole=True), "training.learning_rate": Interval(1e-4, 1e-2)}
    assert values_of(changed, space) == {"network.hidden_size": 5}, "0.02 is not within the space"


def test_values_outside_the_space_are_returned_by_name() -> None:
    space = {
        "network.hidden_size": Choices((8, 16)),
        "training.learning_rate": Interval(1e-4, 1e-2),
        "training.truncate_sessions": Choices((5, 7)),
    }
    assert values_outside(changed_to(37), space) == {"network.hidden_size": 37, "training.truncate_sessions": None}
    assert values_outside(changed_to(16), space) == {"training.truncate_sessions": None}
    assert values_outside(Experiment(), DEFAULT_SPACE) == {}


def changed_to(hidden_size: int) -> Experiment:
    return with_values(TINY, {"network.hidden_size": hidden_size})


def test_incompatible_values_are_refused() -> None:
    with pytest.raises(UsageError, match="must not exceed max_steps 4"):
        with_values(TINY, {"training.max_steps": 4})


@pytest.mark.parametrize(
    ("dimension", "value", "contained"),
    [
        (Interval(2, 8, whole=True), 8, True),
        (Interval(2, 8, whole=True), 9, False),
        (Interval(0.0, 1.0, step=0.1), 0.3, True),
        (Interval(0.0, 1.0, step=0.1), 0.35, False),
        (Interval(0, 1), True, False),
        (Interval(0, 1), None, False),
        (Choices((0, 1)), False, False),
        (Choices(("a", "b")), "b", True),
    ],
)
def test_a_dimension_contains_its_values(dimension: Interval | Choices, value: object, contained: bool) -> None:
    assert dimension.contains(value) is contained
