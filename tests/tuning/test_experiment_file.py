"""An experiment as TOML: read back as the same one, for any text and number."""

import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.cli.experiment_file import read_experiment
from pipeline.errors import UsageError
from pipeline.experiment import Experiment
from pipeline.market.specification import StoredSource
from pipeline.tuning.experiment_file import toml_of, write_experiment
from tests.panels import NOW, TINY, changed

TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12)
SINGLE = st.one_of(TEXT, st.booleans(), st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False))
VALUES = st.recursive(
    st.dictionaries(TEXT, st.one_of(SINGLE, st.lists(SINGLE, max_size=3)), max_size=4),
    lambda inner: st.dictionaries(TEXT, st.one_of(SINGLE, inner, st.lists(inner, max_size=2)), max_size=4),
    max_leaves=8,
)


@given(VALUES)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_toml_is_read_back_as_it_was(values: dict[str, object]) -> None:
    assert tomllib.loads(toml_of(values)) == values


def test_none_is_omitted() -> None:
    assert tomllib.loads(toml_of({"a": None, "b": {"c": None, "d": [{"e": 1, "f": None}]}})) == {"b": {"d": [{"e": 1}]}}
    assert math.isinf(tomllib.loads(toml_of({"x": -math.inf}))["x"])


@pytest.mark.parametrize(
    "experiment",
    [
        Experiment(),
        changed(TINY, trials=30),
        Experiment(tickers=("BRK-B", "ÄÖ.DE"), source=StoredSource(as_known=NOW), horizons=3),
        Experiment(universe=Path('a "list".csv'), folds={"train_end": "2014-12-31", "valid_end": "2016-12-31"}),
    ],
)
def test_run_reads_what_tune_writes(experiment: Experiment, tmp_path: Path) -> None:
    path = tmp_path / "new" / "best.toml"
    write_experiment(path, experiment, ("Chosen among 30.\nOf one study.",))
    assert read_experiment(path, {}) == experiment
    assert path.read_text().startswith("# Chosen among 30.\n# Of one study.\n\n")


def test_a_folder_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="cannot write"):
        write_experiment(tmp_path / "file" / "best.toml", TINY, ())
