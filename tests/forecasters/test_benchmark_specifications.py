"""The benchmarks as specifications: in an experiment, in a file, and without anything heavy."""

import subprocess
import sys
from datetime import date
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from flows.cli.experiment_file import read_experiment
from pipeline.errors import UsageError
from pipeline.experiment import Experiment
from pipeline.forecasters.boosting import BoostingSpec
from pipeline.forecasters.forecaster import DEFAULT_FEATURES
from pipeline.forecasters.garch import GarchSpec
from pipeline.forecasters.har import HarSpec
from pipeline.forecasters.pretrained import PretrainedSpec
from pipeline.forecasters.registry import BENCHMARK_KINDS, BenchmarkSpec, forecaster_as_json, forecaster_from_json
from pipeline.forecasters.ridge import RidgeSpec
from pipeline.forecasting.forecasts import CORE_FORECASTERS, FORECASTER_ORDER

PRETRAINED = PretrainedSpec(weights=Path("weights"), trained_until=date(2019, 6, 30))
EVERY: tuple[BenchmarkSpec, ...] = (GarchSpec(), HarSpec(), RidgeSpec(), BoostingSpec(leaves=7), PRETRAINED)


def test_every_kind_is_known_and_has_its_place_after_the_baselines() -> None:
    assert tuple(spec.model_fields["kind"].default for spec in get_args(get_args(BenchmarkSpec)[0])) == BENCHMARK_KINDS
    assert tuple(spec.kind for spec in EVERY) == BENCHMARK_KINDS
    fitted = tuple(name for name in FORECASTER_ORDER if name not in ("combined", "calibrated"))
    assert fitted == (*CORE_FORECASTERS, *BENCHMARK_KINDS)
    assert len(set(FORECASTER_ORDER)) == len(FORECASTER_ORDER)


@pytest.mark.parametrize("spec", EVERY, ids=BENCHMARK_KINDS)
def test_a_benchmark_survives_json_and_refuses_what_it_does_not_know(spec: BenchmarkSpec) -> None:
    values = forecaster_as_json(spec)
    assert forecaster_from_json(values) == spec
    with pytest.raises(ValidationError, match="leafs"):
        forecaster_from_json({**values, "leafs": 3})


def test_without_benchmarks_nothing_changes_and_with_them_they_come_last() -> None:
    plain, extended = Experiment(benchmarks=()), Experiment(benchmarks=EVERY)
    assert Experiment().benchmarks == EVERY[:3]
    assert extended.forecasters == (*plain.forecasters, *EVERY)
    assert set(plain.all_features) <= set(extended.all_features)
    assert plain.minimum_sessions == extended.minimum_sessions  # so the same origins are forecast
    assert [extended.features_of(spec) for spec in EVERY] == [
        (),
        ("log_range",),
        DEFAULT_FEATURES,
        DEFAULT_FEATURES,
        (),
    ]
    assert [len(extended.seeds_of(spec)) for spec in EVERY] == [1] * len(EVERY)
    assert Experiment.model_validate_json(extended.model_dump_json()) == extended


@pytest.mark.parametrize(
    ("benchmarks", "message"),
    [
        ((GarchSpec(), HarSpec(), GarchSpec()), "more than one benchmark garch"),
        ((HarSpec(features=("moon",)),), "unknown feature moon"),
        ((RidgeSpec(features=("log_return", "moon")),), "unknown feature moon"),
        ((BoostingSpec(features=("moon",)),), "unknown feature moon"),
        ((BoostingSpec(features=("sector_return",)),), "needs sectors"),
    ],
)
def test_benchmarks_that_cannot_be_run_are_refused_by_name(benchmarks: tuple[BenchmarkSpec, ...], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Experiment(benchmarks=benchmarks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            '[[benchmarks]]\nkind = "boosting"\nleafs = 3',
            "unknown key benchmarks.0.boosting.leafs; did you mean leaves",
        ),
        ('[[benchmarks]]\nkind = "garch"\nmoon = 3', "unknown key benchmarks.0.garch.moon; expected one of kind"),
        ('[[benchmarks]]\nkind = "gars"', "'garch', 'har', 'ridge', 'boosting', 'pretrained'"),
        ('[[benchmarks]]\nkind = "pretrained"', "benchmarks.0.pretrained.weights: Field required"),
        ('[[benchmarks]]\nkind = "ridge"\npenalties = []', "at least 1 item"),
    ],
)
def test_a_file_with_a_wrong_benchmark_is_refused_with_a_hint(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    with pytest.raises(UsageError) as refused:
        read_experiment(path, {})
    assert message in str(refused.value)


def test_a_file_names_benchmarks(tmp_path: Path) -> None:
    path = tmp_path / "experiment.toml"
    path.write_text(
        '[[benchmarks]]\nkind = "har"\n[[benchmarks]]\nkind = "boosting"\nleaves = 7\n'
        '[[benchmarks]]\nkind = "pretrained"\nweights = "weights"\ntrained_until = 2019-06-30\n'
    )
    assert read_experiment(path, {}).benchmarks == (HarSpec(), BoostingSpec(leaves=7), PRETRAINED)


def test_describing_and_asking_benchmarks_imports_no_library_that_fits_them() -> None:
    script = (
        "import sys, pipeline.experiment, pipeline.forecasters.registry, pipeline.forecasters.garch,"
        " pipeline.forecasters.boosting, pipeline.forecasters.ridge, pipeline.forecasters.pretrained;"
        "print(*sorted({'sklearn', 'lightgbm', 'arch', 'torch', 'chronos'} & set(sys.modules)))"
    )
    message = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert message.stdout.split() == []
