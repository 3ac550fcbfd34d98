"""The latest model: the fits of one fold with what is needed to forecast from new bars."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from pipeline.drafts import write_whole
from pipeline.errors import FitError, UsageError
from pipeline.experiment import Experiment
from pipeline.training.jobs import FitResult, Fitted
from pipeline.training.kept import KeptFits, read_fitted

LATEST = "latest.json"


@dataclass(frozen=True)
class Model:
    """A fold's fitted forecasters; `market` are the tickers whose mean makes the market features."""

    experiment: Experiment
    market: tuple[str, ...]
    trained_until: str
    fits: tuple[Fitted, ...]

    @property
    def seen(self) -> tuple[str, ...]:
        """The tickers the forecasters were trained on."""
        return self.fits[0].tickers


def publish(folder: Path, experiment: Experiment, market: Sequence[str], results: Sequence[FitResult]) -> None:
    """Make these kept fits of one fold the latest model; the former stays the latest until this one is written."""
    content = {
        "experiment": experiment.model_dump(mode="json"),
        "market": list(market),
        "trained_until": str(results[0].job.fold.validation.until),
        "fits": [result.job.key for result in results],
    }
    write_whole(folder / LATEST, json.dumps(content, indent=1).encode())


def latest_model(folder: Path, kept: KeptFits) -> Model:
    """Return the latest model; raises UsageError where there is none, FitError where it cannot be read."""
    path = folder / LATEST
    if not path.is_file():
        raise UsageError(f"no fitted model under {folder}; run `tapecast run` first")
    try:
        content = json.loads(path.read_text())
        gone = [key for key in content["fits"] if not (kept.folder / key).is_dir()]
        if gone:
            raise UsageError(f"the latest model's fits were removed from {kept.folder}; run `tapecast run` again")
        return Model(
            experiment=Experiment.model_validate(content["experiment"]),
            market=tuple(content["market"]),
            trained_until=content["trained_until"],
            fits=tuple(read_fitted(kept.folder / key) for key in content["fits"]),
        )
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        raise FitError(f"cannot read the latest model in {path}: {error}; run `tapecast run` again") from error
