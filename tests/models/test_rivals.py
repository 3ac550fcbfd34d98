"""The rivals as specifications: in an experiment, in a file, and without anything heavy."""

import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from flows.configuration import read_experiment
from pipeline.errors import UsageError
from pipeline.evaluation.backtest import FORECASTERS, IN_ORDER
from pipeline.experiment import Experiment
from pipeline.models.rivals import (
    RIVAL_FEATURES,
    RIVAL_KINDS,
    BoostingSpec,
    GarchSpec,
    HarSpec,
    PretrainedSpec,
    RidgeSpec,
    RivalSpec,
)
from pipeline.training.jobs import forecaster_as_json, forecaster_from_json

PRETRAINED = PretrainedSpec(weights=Path("weights"), trained_until=date(2019, 6, 30))
EVERY: tuple[RivalSpec, ...] = (GarchSpec(), HarSpec(), RidgeSpec(), BoostingSpec(leaves=7), PRETRAINED)


def test_every_kind_is_known_and_has_its_place_after_the_baselines() -> None:
    assert tuple(spec.model_fields["kind"].default for spec in get_args(RivalSpec)) == RIVAL_KINDS
    assert tuple(spec.kind for spec in EVERY) == RIVAL_KINDS
    assert tuple(name for name in IN_ORDER if name != "calibrated") == (*FORECASTERS, *RIVAL_KINDS)
    assert len(set(IN_ORDER)) == len(IN_ORDER)


@pytest.mark.parametrize("spec", EVERY, ids=RIVAL_KINDS)
def test_a_rival_survives_json_and_refuses_what_it_does_not_know(spec: RivalSpec) -> None:
    values = forecaster_as_json(spec)
    assert forecaster_from_json(values) == spec
    with pytest.raises(ValidationError, match="leafs"):
        forecaster_from_json({**values, "leafs": 3})


def test_without_rivals_nothing_changes_and_with_them_they_come_last() -> None:
    plain, rivalled = Experiment(), Experiment(rivals=EVERY)
    assert plain.rivals == ()
    assert rivalled.forecasters == (*plain.forecasters, *EVERY)
    assert set(plain.all_features) <= set(rivalled.all_features)
    assert plain.minimum_sessions == rivalled.minimum_sessions  # so the same origins are forecast
    assert [rivalled.features_of(spec) for spec in EVERY] == [(), ("log_range",), RIVAL_FEATURES, RIVAL_FEATURES, ()]
    assert [len(rivalled.seeds_of(spec)) for spec in EVERY] == [1] * len(EVERY)
    assert Experiment.model_validate_json(rivalled.model_dump_json()) == rivalled


@pytest.mark.parametrize(
    ("rivals", "told"),
    [
        ((GarchSpec(), HarSpec(), GarchSpec()), "more than one rival garch"),
        ((HarSpec(features=("moon",)),), "unknown feature moon"),
        ((RidgeSpec(features=("log_return", "moon")),), "unknown feature moon"),
        ((BoostingSpec(features=("moon",)),), "unknown feature moon"),
        ((BoostingSpec(features=("sector_return",)),), "needs sectors"),
    ],
)
def test_rivals_that_cannot_be_run_are_refused_by_name(rivals: tuple[RivalSpec, ...], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Experiment(rivals=rivals)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[rivals]]\nkind = "boosting"\nleafs = 3', "unknown key rivals.0.boosting.leafs; did you mean leaves"),
        ('[[rivals]]\nkind = "garch"\nmoon = 3', "unknown key rivals.0.garch.moon; expected one of kind"),
        ('[[rivals]]\nkind = "gars"', "'garch', 'har', 'ridge', 'boosting', 'pretrained'"),
        ('[[rivals]]\nkind = "pretrained"', "rivals.0.pretrained.weights: Field required"),
        ('[[rivals]]\nkind = "ridge"\npenalties = []', "at least 1 item"),
    ],
)
def test_a_file_with_a_wrong_rival_is_refused_with_a_hint(text: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        read_experiment(path, {})
    assert told in str(refused.value)


def test_a_file_names_rivals(tmp_path: Path) -> None:
    path = tmp_path / "experiment.toml"
    path.write_text(
        '[[rivals]]\nkind = "har"\n[[rivals]]\nkind = "boosting"\nleaves = 7\n'
        '[[rivals]]\nkind = "pretrained"\nweights = "weights"\ntrained_until = 2019-06-30\n'
    )
    assert read_experiment(path, {}).rivals == (HarSpec(), BoostingSpec(leaves=7), PRETRAINED)


def test_describing_and_asking_rivals_imports_neither_scikit_learn_nor_arch_models() -> None:
    script = (
        "import sys, pipeline.experiment, pipeline.training.rivals, pipeline.training.garch,"
        " pipeline.training.boosting, pipeline.training.regressions, pipeline.training.pretrained;"
        "print(*sorted({'sklearn', 'arch', 'torch', 'chronos'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert told.stdout.split() == []
