"""The rows that choose: the validation ranges of the first folds, and nothing that a later run tests on.

A walk-forward tests each fold until the next refit, so the validation range of a later fold lies within the test
range of an earlier one. Choosing on all of them would therefore look at test rows. Here the first K folds choose; of
the frames nothing after the last one's validation range is kept, and the experiment that is written begins its
walk-forward with that fold, so that every session it tests lies after every session that chose.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.arrays import Floats32
from pipeline.dataset.folds import Fold, FoldSpec
from pipeline.dataset.frames import Frames
from pipeline.dataset.labels import label_mask
from pipeline.errors import UsageError
from pipeline.evaluation.scores import pinball
from pipeline.experiment import Experiment
from pipeline.forecasters.forecaster import Fitted
from pipeline.training.fits import quantiles
from pipeline.training.jobs import digest_of_rows

BANDS_FROM_VALIDATION = ("point", "direction")


@dataclass(frozen=True)
class Choosing:
    """The folds that choose, and the frames cut at the end of the last one's validation range."""

    frames: Frames
    folds: tuple[Fold, ...]

    @property
    def until(self) -> np.datetime64:
        """The day before which every row lies that was looked at."""
        return self.folds[-1].validation.until

    @property
    def digest(self) -> str:
        """The digest of every row that chooses."""
        return digest_of_rows(self.frames)


def choosing_of(frames: Frames, folds: Sequence[Fold], count: int) -> Choosing:
    """Return the first `count` folds (or all, where there are fewer) with the rows that they may read."""
    first = tuple(folds[:count])
    return Choosing(frames.until(first[-1].validation.stop), first)


def refuse_unfair(experiment: Experiment) -> None:
    """Raise UsageError for a specification that the rows which choose could not judge like any other.

    Bands of the heads point and direction are learned on the validation range, and would be judged on their own rows.
    Networks of one ticker each, and folds that begin from former ones, are no single fit on a fold.
    """
    network, training = experiment.network, experiment.training
    told = {
        f'network.head.kind = "{network.head.kind}"': network.head.kind in BANDS_FROM_VALIDATION,
        'network.scope = "ticker"': network.scope == "ticker",
        "training.warm_start = true": training.warm_start,
    }
    found = [name for name, unfair in told.items() if unfair]
    if found:
        raise UsageError(
            f"found {', '.join(found)} in a search, expected one network for all tickers that learns each fold anew "
            "and has a distribution of its own: the validation range cannot judge others fairly; choose it by hand"
        )


def said(fitted: Fitted, choosing: Choosing, fold: Fold) -> Floats32:
    """Return quantiles of the log return [ticker, origin, horizon, level] over one fold's validation range."""
    return quantiles(fitted, choosing.frames, slice(fold.validation.start, fold.validation.stop))


def loss_on(values: Sequence[Floats32], choosing: Choosing, fold: Fold) -> float:
    """Return the pinball of the log return over a validation range, the mean over horizons.

    `values` are the quantiles of several seeds, whose mean is the forecast, as in a backtest. Rows are the usable
    origins whose label is known before the range ends; NaN where a horizon has none.
    """
    mean: Floats32 = np.mean(np.stack(values), axis=0, dtype=np.float32)
    part = fold.validation
    seen = choosing.frames.until(part.stop)
    known = label_mask(seen, part)[:, part.start : part.stop] & np.isfinite(mean).all(axis=-1)
    realised = seen.future_return[:, part.start : part.stop]
    by_horizon = [
        pinball(mean[:, :, h][known[:, :, h]].astype(float), realised[:, :, h][known[:, :, h]].astype(float))
        if known[:, :, h].any()
        else float("nan")
        for h in range(seen.horizons)
    ]
    return float(np.mean(by_horizon))


def estimate(losses: Sequence[float | None], reference: Sequence[float]) -> float:
    """Return the loss to expect over all choosing folds from those that are known: their mean once all are.

    `reference` are the losses of a baseline on the same folds. Calm and wild years differ several times in loss; the
    ratio to the baseline makes what is known after one fold comparable with what is known after another
    (the ratio estimator, Cochran 1977, section 6.2).
    """
    known = [at for at, loss in enumerate(losses) if loss is not None]
    if len(known) == len(losses):
        return float(np.mean([loss for loss in losses if loss is not None]))
    total = sum(loss for loss in losses if loss is not None)
    return float(total / sum(reference[at] for at in known) * np.mean(reference))


def folds_behind(spec: FoldSpec, choosing: Choosing) -> FoldSpec:
    """Return the folds of a walk-forward on these prices that tests no session which chose.

    Its first fold is the last one that chose: that one's test range begins where its validation range ends.
    """
    if spec.train_end or len(choosing.folds) == 1:
        return spec
    usable = choosing.frames.usable[:, : choosing.folds[-1].train.stop].any(axis=0)
    return spec.model_copy(update={"minimum_train_sessions": int(np.count_nonzero(usable)) - 1})


def chosen_among(base: Experiment, tried: int, base_is_tried: bool) -> int:
    """Return how many specifications were tried in all before one of this search was chosen.

    The base counts once: as the first trial of this search and as the choice of a former one it is the same. One that
    lies outside the space is no trial of this search: it counts where a former one tried it, and else not at all.
    """
    former = base.trials if base.trials > 1 else 0
    return tried + (base.trials - 1 if base_is_tried else former)
