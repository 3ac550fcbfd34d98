"""Leaks that the suite builds in on purpose, each as one stage put in the place of the honest one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from pipeline.audit.steps import Setting, Steps, frames_from
from pipeline.dataset.frames import Frames
from pipeline.forecasters.forecaster import Fitted
from pipeline.market.bars import Bars
from pipeline.training.fits import fit
from pipeline.training.jobs import FitJob


def outcome_as_feature(bars: Bars, others: Sequence[Bars], setting: Setting) -> Frames:
    """Return frames whose first feature is the next session's return."""
    frames = frames_from(bars, others, setting)
    features = np.array(frames.features)
    features[..., 0] = np.where(frames.usable, np.nan_to_num(frames.future_return[..., 0]), features[..., 0])
    return replace(frames, features=features)


def scaled_on_everything(job: FitJob, frames: Frames, former: Fitted | None) -> Fitted:
    """Return a fit on features that were standardised over the whole history, test included."""
    rows = frames.features[frames.usable]
    scaled = (frames.features - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), np.float32(1e-12))
    return fit(job, replace(frames, features=scaled.astype(np.float32)), former)


def stopped_on_test(job: FitJob, frames: Frames, former: Fitted | None) -> Fitted:
    """Return a fit whose step was chosen on the test range."""
    return fit(replace(job, fold=replace(job.fold, validation=job.fold.test)), frames, former)


LEAKING = Steps(features=outcome_as_feature)
"""The leak that gives a network more skill than there is."""

PLANTED: Mapping[str, Steps] = {
    "features": LEAKING,
    "scale": Steps(fit=scaled_on_everything),
    "early stop": Steps(fit=stopped_on_test),
}
"""The stage that a leak sits in -> the steps with this leak."""
