"""Experiments from TOML and options: which of them applies, and how a mistake is reported."""

from pathlib import Path
from typing import Any

import pytest

from flows.cli.experiment_file import merged_tables, read_experiment
from pipeline.errors import UsageError
from pipeline.experiment import Experiment


def read(tmp_path: Path, text: str, **overrides: Any) -> Experiment:
    path = tmp_path / "experiment.toml"
    path.write_text(text)
    return read_experiment(path, overrides)


def test_no_file_and_no_option_is_the_default() -> None:
    assert read_experiment(None, {}) == Experiment()


def test_options_win_over_the_file(tmp_path: Path) -> None:
    text = 'tickers = ["A"]\nseeds = 2\n[source]\nkind = "files"\npath = "a.csv"\nprice_basis = "as_traded"\n'
    found = read(tmp_path, text, tickers=("B",), source={"kind": "files", "path": Path("b.csv")})
    assert (found.tickers, found.seeds) == (("B",), 2)
    assert found.source.model_dump() == {
        "kind": "files",
        "path": Path("b.csv"),
        "price_basis": "as_traded",
        "exchange": None,
    }


def test_a_source_of_another_kind_replaces_the_whole_table() -> None:
    assert merged_tables({"source": {"kind": "files", "path": "a"}}, {"source": {"kind": "sample"}}) == {
        "source": {"kind": "sample"}
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sedes = 1", "unknown key sedes; did you mean seeds?"),
        ("[training]\nlearning_rat = 1", "unknown key training.learning_rat; did you mean learning_rate?"),
        ('[source]\nkind = "files"\npath = "x"\npth = "y"', "unknown key source.files.pth; did you mean path?"),
        (
            "zzz = 1",
            "unknown key zzz; expected one of abstain, benchmarks, calendar_covariates, calibration, covariates",
        ),
        ("seeds = 0", "seeds: Input should be greater than or equal to 1, found 0"),
        ('features = ["log_retrun"]', "unknown feature log_retrun"),
        ("[folds]\ntrain_end = 2020-01-01\nvalid_end = 2019-01-01", "must come before valid_end"),
        ("this is not toml", "expected TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError) as error:
        read(tmp_path, text)
    assert words in str(error.value)


def test_every_mistake_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        read(tmp_path, "sedes = 1\nhorizons = 0")
    assert "sedes" in str(error.value)
    assert "horizons" in str(error.value)


def test_a_misspelt_key_of_a_series_is_reported_with_the_one_meant() -> None:
    series = {"name": "vix", "path": "vix.csv", "colum": "close", "publication_lag_days": 1}
    with pytest.raises(UsageError, match=r"unknown key covariates\.0\.past\.colum; did you mean column\?"):
        read_experiment(None, {"covariates": [series]})
