"""An experiment as TOML: read back as the same one, for any text and number."""

import tomllib
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.cli.experiment_file import read_experiment
from pipeline.errors import UsageError
from pipeline.experiment import Experiment, write_experiment
from pipeline.market.specification import StoredSource
from tests.panels import NOW, TINY, TINY_TRAINING, changed

TEXT = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=12)


@given(TEXT, st.floats(1e-300, 1.0), st.integers(0, 2**63 - 1))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_any_text_and_number_is_read_back_as_it_was(text: str, rate: float, seed: int) -> None:
    experiment = changed(
        TINY, universe=Path(text), training=TINY_TRAINING.model_copy(update={"learning_rate": rate}), seed=seed
    )
    with TemporaryDirectory() as folder:
        path = Path(folder) / "best.toml"
        write_experiment(path, experiment, ())
        assert Experiment.model_validate(tomllib.loads(path.read_text())) == experiment


@pytest.mark.parametrize(
    "experiment",
    [
        Experiment(),
        changed(TINY, trials=30),
        Experiment(tickers=("BRK-B", "ÄÖ.DE"), source=StoredSource(as_known=NOW), horizons=3),
        Experiment(benchmarks=({"kind": "har"}, {"kind": "garch"}), features=("log_return", "log_range")),
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
