"""One small market and its first job, for the tests of networks."""

import pytest

from pipeline.dataset.frames import Frames
from pipeline.training.jobs import FitJob
from tests.forecasters.recurrent.builders import first_job
from tests.panels import frames_from, random_market


@pytest.fixture(scope="session")
def frames() -> Frames:
    return frames_from(random_market(500, 4))


@pytest.fixture(scope="session")
def job(frames: Frames) -> FitJob:
    return first_job(frames)
