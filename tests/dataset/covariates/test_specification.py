"""Specifications of covariates in an experiment: what they state, and what is refused."""

from pathlib import Path

import pytest
from pydantic import TypeAdapter, ValidationError

from flows.cli.experiment_file import read_experiment
from pipeline.dataset.covariates.specification import CovariateSpec, KnownFutureSeriesSpec, PastSeriesSpec
from pipeline.errors import UsageError
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import DEFAULT_FEATURES
from pipeline.forecasters.linear import LinearSpec

PAST = {"name": "vix", "path": "vix.csv", "column": "close", "publication_lag_days": 1}
KNOWN = {"name": "fed", "path": "fed.csv", "column": "meets", "known_in_advance": True}


def test_one_key_decides_which_of_the_two_types_a_table_is() -> None:
    adapter: TypeAdapter[object] = TypeAdapter(CovariateSpec)
    past, known = adapter.validate_python(PAST), adapter.validate_python(KNOWN)
    assert (type(past), type(known)) == (PastSeriesSpec, KnownFutureSeriesSpec)
    assert (past.transform, past.max_age_days, past.warm_up, past.date_column) == ("change", 14.0, 1, "date")
    assert adapter.validate_python(past) == past
    assert adapter.validate_python({**PAST, "transform": "level"}).warm_up == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({**PAST, "known_in_advance": True}, "one of publication_lag_days = DAYS .* and known_in_advance = true"),
        ({"name": "vix", "path": "vix.csv", "column": "close"}, "one of publication_lag_days = DAYS"),
        ("vix.csv", "one of publication_lag_days = DAYS"),
        ({**KNOWN, "known_in_advance": False}, "known_in_advance"),
        ({**KNOWN, "transform": "level"}, "transform"),
        ({**PAST, "publication_lag_days": -1}, "greater than or equal to 0"),
        ({**PAST, "transform": "square"}, "log_change"),
        ({**PAST, "max_age_days": 0}, "greater than 0"),
        ({**PAST, "lag": 1}, "lag"),
        ({**PAST, "name": "VIX index"}, "name"),
        ({**PAST, "name": "log_return"}, "found a series called log_return, as a feature or calendar covariate is"),
    ],
)
def test_an_ambiguous_or_invalid_table_is_refused(values: object, message: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){message}"):
        Experiment.model_validate({"covariates": [values]})


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"covariates": [PAST, {**KNOWN, "name": "vix"}]}, "found a series called vix, as another series is"),
        (
            {"covariates": [{**KNOWN, "name": "month_end"}], "calendar_covariates": ["month_end"]},
            "called month_end, as",
        ),
        ({"features": ["log_return", "vix"]}, "unknown feature vix"),
        ({"features": ["log_return", "fed"], "covariates": [KNOWN]}, "unknown feature fed"),
        ({"features": ["sector_return"]}, "sector_return needs sectors = FILE, found none"),
        ({"features": ["index_log_range"]}, "index_log_range needs index = TICKER, found none"),
        ({"calendar_covariates": ["moon"]}, "day_of_week"),
    ],
)
def test_an_experiment_with_conflicting_names_is_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=f"(?s){message}"):
        Experiment.model_validate(values)


def test_covariates_are_read_by_the_network_and_by_no_baseline() -> None:
    plain = Experiment()
    assert plain.network_features == plain.features == DEFAULT_FEATURES
    assert plain.known_future_names == ()
    whole = Experiment(
        sectors=Path("s.csv"), index="SPY", calendar_covariates=("month_end", "half_day"), covariates=(KNOWN, PAST)
    )
    added = ("sector_return", "sector_log_range", "index_return", "index_log_range", "vix")
    assert whole.features_of(whole.network) == (*DEFAULT_FEATURES, *added)
    assert whole.known_future_of(whole.network) == ("month_end", "half_day", "fed")
    assert whole.features_of(LinearSpec()) == plain.features_of(LinearSpec())
    assert whole.known_future_of(LinearSpec()) == ()
    assert whole.minimum_sessions == plain.minimum_sessions


def test_named_features_keep_their_order_and_are_not_added_twice() -> None:
    named = Experiment(
        features=("vix", "log_return", "sector_return"), sectors=Path("s.csv"), index="SPY", covariates=(PAST,)
    )
    assert named.network_features == ("vix", "log_return", "sector_return", "index_return", "index_log_range")


def test_a_fault_in_a_file_of_an_experiment_is_reported_by_its_key(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text('[[covariates]]\nname = "vix"\npath = "vix.csv"\ncolumn = "close"\n')
    with pytest.raises(UsageError, match=r"covariates.0: expected a table with one of publication_lag_days = DAYS"):
        read_experiment(path, {})
