"""The sine check's mark: reached by a network that learned, missed by anything that did not."""

import pytest

from pipeline.errors import SanityError
from pipeline.workflow.sine import MARK, SineResult, refuse_missed_mark


def test_a_result_within_the_mark_passes() -> None:
    refuse_missed_mark(SineResult(rmse_return=0.01 * MARK * 0.999, noise=0.01))


@pytest.mark.parametrize("rmse", [0.01 * MARK * 1.001, 0.0131, 0.0173, float("nan")])
def test_linear_regression_last_close_and_nonsense_miss_the_mark(rmse: float) -> None:
    with pytest.raises(SanityError, match="do not trust"):
        refuse_missed_mark(SineResult(rmse_return=rmse, noise=0.01))
