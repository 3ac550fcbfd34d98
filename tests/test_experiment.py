"""The experiment: valid by default, strict about what it is given, and the same after a round trip."""

import json
import tomllib
from datetime import date

import pytest
from pydantic import ValidationError

from pipeline.dataset.features import FEATURES
from pipeline.experiment import Experiment
from pipeline.forecasters.linear import LinearSpec
from pipeline.forecasters.recurrent.specification import RecurrentSpec
from pipeline.forecasting.specification import CalibrationSpec, PostprocessingSpec
from pipeline.market.specification import SyntheticSource
from pipeline.stages import folds_of, jobs_of
from tests.panels import TINY, frames_from, random_market


def test_the_defaults_are_valid_and_as_documented() -> None:
    experiment = Experiment()
    assert experiment.source.kind == "sample"
    assert (experiment.horizons, experiment.seeds, experiment.device) == (5, 3, "auto")
    assert [f.kind for f in experiment.forecasters] == [
        "network",
        "climatology",
        "last_close",
        "drift",
        "ewma",
        "linear",
        "garch",
        "har",
        "ridge",
    ]
    assert experiment.postprocessing == PostprocessingSpec("combined", CalibrationSpec())
    assert experiment.minimum_sessions == 60 + 40  # the longest warm-up and the burn-in
    assert set(experiment.all_features) == {*experiment.features, *LinearSpec().features}
    assert len(experiment.all_features) == len(set(experiment.all_features))
    assert experiment.worker_count >= 1


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"horizon": 5}, "horizon"),
        ({"network": {"hidden": 5}}, "network.*hidden"),
        ({"training": {"steps": 5}}, "training.*steps"),
        ({"folds": {"refit": 3}}, "folds.*refit"),
        ({"source": {"kind": "sample", "path": "x"}}, "source.*path"),
        ({"horizons": 0}, "greater than or equal to 1"),
        ({"seeds": 0}, "greater than or equal to 1"),
        ({"features": []}, "at least 1"),
        ({"device": "tpu"}, "cuda"),
        ({"network": {"dropout": 1.0}}, "less than 1"),
        ({"network": {"cell": "transformer"}}, "lstm"),
        ({"training": {"burn_in_sessions": 160}}, "must be smaller than chunk_sessions 160"),
        ({"training": {"min_steps": 301}}, "must not exceed max_steps 200"),
    ],
)
def test_what_is_unknown_or_impossible_is_refused_by_name(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){message}"):
        Experiment.model_validate(values)


def test_an_unknown_feature_is_refused_with_the_list() -> None:
    with pytest.raises(ValidationError) as refused:
        Experiment(features=("log_return", "moon"))
    assert "unknown feature moon" in str(refused.value)
    assert all(feature.name in str(refused.value) for feature in FEATURES)


def test_an_experiment_is_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        Experiment().horizons = 3


@pytest.mark.parametrize(
    "experiment",
    [
        Experiment(),
        TINY,
        Experiment(tickers=("AAPL", "IBM"), folds={"train_end": "2010-01-04", "valid_end": "2011-01-03"}),
    ],
)
def test_an_experiment_survives_json(experiment: Experiment) -> None:
    assert Experiment.model_validate(experiment.model_dump()) == experiment
    text = json.dumps(experiment.model_dump(mode="json"))
    assert Experiment.model_validate(json.loads(text)) == experiment


def test_an_experiment_is_read_from_toml() -> None:
    text = """
    tickers = ["AAPL"]
    horizons = 3
    source = { kind = "synthetic", process = "sine", sessions = 400 }
    [network]
    cell = "gru"
    [folds]
    train_end = 2020-01-31
    valid_end = 2020-06-30
    """
    experiment = Experiment.model_validate(tomllib.loads(text))
    assert experiment.source == SyntheticSource(process="sine", sessions=400)
    assert experiment.network == RecurrentSpec(cell="gru")
    assert str(experiment.folds.train_end) == "2020-01-31"


def test_its_schema_describes_every_field_for_a_form() -> None:
    schema = Experiment.model_json_schema()
    assert set(schema["properties"]) == set(Experiment.model_fields)
    assert schema["additionalProperties"] is False
    assert {"RecurrentSpec", "TrainingSpec", "FoldSpec", "YahooSource", "FilesSource"} <= set(schema["$defs"])
    json.dumps(schema)


def test_every_forecaster_and_seed_gets_a_job_on_every_fold() -> None:
    experiment = TINY.model_copy(update={"seeds": 3, "seed": 7})
    frames = frames_from(random_market(700, 3), experiment)
    folds = folds_of(frames, experiment)
    jobs = list(jobs_of(frames, folds, experiment, "cuda"))
    for fold in folds:
        fold_jobs = [job for job in jobs if job.fold == fold]
        assert [(job.forecaster.kind, job.seed) for job in fold_jobs] == [
            *(("network", seed) for seed in (7, 8, 9)),
            *((kind, 7) for kind in ("climatology", "last_close", "drift", "ewma", "linear")),
        ]
        assert [job.device for job in fold_jobs] == ["cuda"] * 3 + ["cpu"] * 5
        assert {job.features for job in fold_jobs} == {experiment.features, LinearSpec().features, ()}
    assert len(jobs) == len(folds) * 8
    for kinds in (("network",), ("drift", "network"), ("garch",), ()):  # garch is not of this experiment
        assert list(jobs_of(frames, folds, experiment, "cuda", kinds)) == [
            job for job in jobs if job.forecaster.kind in kinds
        ]


def test_a_fold_trains_on_the_tickers_that_are_usable_in_it() -> None:
    rows = random_market(700, 4)
    frames = frames_from({**rows, "T3": rows["T3"].iloc[-300:]})  # listed long after the first fold
    folds = folds_of(frames, TINY)
    tickers = {job.fold.name: job.tickers for job in jobs_of(frames, folds, TINY, "cpu")}
    assert list(tickers.values()) == [("T0", "T1", "T2"), ("T0", "T1", "T2", "T3")]


def test_defaults_that_were_chosen_on_the_tested_past_are_said() -> None:
    plain = Experiment()
    assert "features and network and training were chosen on prices up to 2016-12-31" in plain.look_back(
        date(2010, 1, 4)
    )
    assert plain.look_back(date(2017, 1, 3)) == ""
    other_network = plain.model_copy(update={"network": RecurrentSpec(hidden_size=7)})
    assert "of features and training were" in other_network.look_back(date(2010, 1, 4))
