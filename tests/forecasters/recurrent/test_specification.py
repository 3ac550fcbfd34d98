"""Specifications: what a form or a file may say of a network, and what is refused."""

import itertools

import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from pipeline.forecasters.forecaster import LEVELS, MEDIAN
from pipeline.forecasters.recurrent.specification import (
    DirectionHeadSpec,
    HeadSpec,
    MixtureHeadSpec,
    PointHeadSpec,
    QuantileHeadSpec,
    RecurrentSpec,
    StudentHeadSpec,
)
from pipeline.forecasters.registry import ForecasterSpec

FORECASTER: TypeAdapter[ForecasterSpec] = TypeAdapter(ForecasterSpec)
HEADS: dict[str, HeadSpec] = {
    "quantiles": QuantileHeadSpec(),
    "point": PointHeadSpec(loss="huber", huber_delta=0.7),
    "student_t": StudentHeadSpec(),
    "mixture": MixtureHeadSpec(components=5),
    "direction": DirectionHeadSpec(flat=0.5),
}


def test_the_levels_increase_around_the_median() -> None:
    assert all(low < high for low, high in itertools.pairwise(LEVELS))
    assert LEVELS[MEDIAN] == 0.5
    np.testing.assert_allclose(np.add(LEVELS, LEVELS[::-1]), 1.0)


@pytest.mark.parametrize("kind", HEADS)
def test_a_head_is_chosen_by_its_kind_and_survives_json(kind: str) -> None:
    assert RecurrentSpec.model_validate({"head": {"kind": kind}}).head == type(HEADS[kind])()
    spec = RecurrentSpec(head=HEADS[kind], cell="gru", shape="many_to_one", layer_norm=True)
    again = FORECASTER.validate_python(FORECASTER.dump_python(spec, mode="json"))
    assert again == spec
    assert isinstance(again, RecurrentSpec)
    assert type(again.head) is type(HEADS[kind])


@pytest.mark.parametrize(
    ("shape", "ahead", "allowed", "reads_one"),
    [
        ("many_to_many", "direct", True, False),
        ("many_to_many", "decoder", True, False),
        ("many_to_many", "recursive", True, False),
        ("many_to_one", "direct", True, False),
        ("many_to_one", "recursive", True, False),
        ("one_to_one", "direct", True, True),
        ("one_to_one", "recursive", True, True),
        ("one_to_many", "decoder", True, True),
        ("one_to_many", "recursive", True, True),
        ("one_to_many", "direct", False, True),
    ],
)
def test_shapes_and_horizons_go_together_or_are_refused(shape: str, ahead: str, allowed: bool, reads_one: bool) -> None:
    values = {"shape": shape, "horizon_mode": ahead}
    if not allowed:
        with pytest.raises(ValidationError, match="one_to_many unrolls its answer; set horizon_mode to"):
            RecurrentSpec.model_validate(values)
        return
    assert RecurrentSpec.model_validate(values).reads_one == reads_one


@pytest.mark.parametrize(
    "values",
    [
        {"cell": "transformer"},
        {"head": {"kind": "crystal_ball"}},
        {"head": {"kind": "quantiles", "components": 3}},
        {"head": {"kind": "mixture", "components": 1}},
        {"head": {"kind": "direction", "flat": 0.0}},
        {"head": {"kind": "point", "loss": "mae"}},
        {"hidden_size": 0},
        {"num_layers": 0},
        {"dropout": 1.0},
        {"nonlinearity": "sigmoid"},
        {"sampled_paths": 1},
        {"embedding_size": -1},
        {"batch_first": False},
    ],
    ids=str,
)
def test_what_no_network_can_be_is_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RecurrentSpec.model_validate(values)
