"""The tuning data: the validation ranges of the first folds, and no row that a later run tests on.

A walk-forward tests each fold until the next refit, so the validation range of a later fold lies within the test
range of an earlier one. Tuning on all of them would therefore read test rows. Here trials are validated on the first K
folds, the tuning folds; the frames end with the last one's validation range, and the experiment that is written begins
its walk-forward with that fold, so that every session it tests lies after every session of the tuning data.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Floats32
from pipeline.dataset.folds import Fold, FoldSpec
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask
from pipeline.errors import UsageError
from pipeline.evaluation.scores import mean_pinball
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import Fitted
from pipeline.training.fits import quantiles
from pipeline.training.jobs import digest_of_rows

BANDS_FROM_VALIDATION = ("point", "direction")


@dataclass(frozen=True)
class TuningData:
    """The tuning folds, and the frames up to the end of the last one's validation range."""

    frames: Frames
    folds: tuple[Fold, ...]

    @property
    def until(self) -> np.datetime64:
        """The day before which every row of the tuning data lies."""
        return self.folds[-1].validation.until

    @property
    def digest(self) -> str:
        """The digest of every row."""
        return digest_of_rows(self.frames)


def tuning_data_of(frames: Frames, folds: Sequence[Fold], count: int) -> TuningData:
    """Return the first `count` folds (or all, where there are fewer) with the rows up to their last validation."""
    first = tuple(folds[:count])
    return TuningData(frames.until(first[-1].validation.stop), first)


def refuse_unfair(experiment: Experiment) -> None:
    """Raise UsageError for a specification whose validation loss cannot be compared with that of others.

    Bands of the heads point and direction are learned on the validation range, and would be validated on the same rows.
    Networks of one ticker each, and folds with a warm start from former ones, are no single fit on a fold.
    """
    network, training = experiment.network, experiment.training
    unfair = {
        f'network.head.kind = "{network.head.kind}"': network.head.kind in BANDS_FROM_VALIDATION,
        'network.scope = "ticker"': network.scope == "ticker",
        "training.warm_start = true": training.warm_start,
    }
    refused = [setting for setting, present in unfair.items() if present]
    if refused:
        raise UsageError(
            f"found {', '.join(refused)} in a search, expected one network for all tickers that is trained anew on "
            "each fold and forecasts its own distribution: the validation loss of others is not comparable; set it by "
            "hand"
        )


def validation_quantiles(fitted: Fitted, data: TuningData, fold: Fold) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level] over one fold's validation range."""
    return quantiles(fitted, data.frames, slice(fold.validation.start, fold.validation.stop))


def mean_validation_pinball(values: Sequence[Floats32], data: TuningData, fold: Fold) -> float:
    """Return the pinball loss of the log return over a validation range, the mean over horizons.

    `values` are the quantiles of several seeds, whose mean is the forecast, as in a backtest. Rows are the usable
    origins whose label is known before the range ends; NaN where a horizon has none.
    """
    mean: Floats32 = np.mean(np.stack(values), axis=0, dtype=np.float32)
    part = fold.validation
    seen = data.frames.until(part.stop)
    known = label_mask(seen, part)[:, part.start : part.stop] & np.isfinite(mean).all(axis=-1)
    realised = seen.future_return[:, part.start : part.stop]
    by_horizon = [
        mean_pinball(mean[:, :, h][known[:, :, h]].astype(float), realised[:, :, h][known[:, :, h]].astype(float))
        if known[:, :, h].any()
        else float("nan")
        for h in range(seen.horizons)
    ]
    return float(np.mean(by_horizon))


def expected_loss(losses: Sequence[float | None], reference: Sequence[float]) -> float:
    """Return the loss expected over all tuning folds from the known ones: their mean once all are known.

    `reference` are the losses of a baseline on the same folds. The loss of calm and volatile years differs several
    times; the ratio to the baseline makes estimates after different folds comparable (the ratio estimator, Cochran
    1977, section 6.2).
    """
    known = [at for at, loss in enumerate(losses) if loss is not None]
    if len(known) == len(losses):
        return float(np.mean([loss for loss in losses if loss is not None]))
    total = sum(loss for loss in losses if loss is not None)
    return float(total / sum(reference[at] for at in known) * np.mean(reference))


def folds_after_tuning(spec: FoldSpec, data: TuningData) -> FoldSpec:
    """Return the folds of a walk-forward on these prices that tests no session of the tuning data.

    Its first fold is the last tuning fold: that one's test range begins where its validation range ends.
    """
    if spec.train_end or len(data.folds) == 1:
        return spec
    usable = data.frames.usable[:, : data.folds[-1].train.stop].any(axis=0)
    return spec.model_copy(update={"minimum_train_sessions": int(np.count_nonzero(usable)) - 1})


def total_trials(base: Experiment, tried: int, base_is_tried: bool) -> int:
    """Return the number of specifications tried in all before one of this search was chosen.

    The base counts once: the first trial of this search and the choice of a former search are the same. A base outside
    the space is no trial of this search: it counts where a former search tried it, and else not at all.
    """
    former = base.trials if base.trials > 1 else 0
    return tried + (base.trials - 1 if base_is_tried else former)
