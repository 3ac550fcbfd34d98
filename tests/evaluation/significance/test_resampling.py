"""Error bars by block bootstrap: against loops over drawn sessions, their analytic variance, and their coverage."""

import numpy as np
import pytest

from pipeline.errors import UsageError
from pipeline.evaluation.significance.resampling import block_length, error_bar, resampled_counts, skill_error_bar
from pipeline.evaluation.significance.superior_ability import bootstrap_error
from tests.evaluation.significance.series import autoregressive, independent

COUNTS = resampled_counts(60, 5, 0, 200)


def drawn_sessions(row: np.ndarray) -> list[int]:
    """The sessions that a replication drew, in their order in time."""
    return [t for t, count in enumerate(row.astype(int).tolist()) for _ in range(count)]


def test_a_block_is_at_least_two_horizons_and_grows_slowly() -> None:
    assert [block_length(n, 1) for n in (27, 250, 1000, 1080)] == [3, 7, 10, 11]
    assert [block_length(1000, h) for h in (5, 6, 20)] == [10, 12, 40]
    assert block_length(4, 20) == 4


def test_every_replication_draws_as_many_sessions_and_each_is_as_likely() -> None:
    counts = resampled_counts(50, 7, 1, 4000)
    assert (counts.sum(axis=1) == 50).all()
    assert counts.mean(axis=0).tolist() == pytest.approx([1.0] * 50, abs=0.1)
    assert (counts == resampled_counts(50, 7, 1, 4000)).all()
    assert (counts != resampled_counts(50, 7, 2, 4000)).any()
    with pytest.raises(ValueError, match="read-only"):
        counts[0, 0] = 9


def test_one_block_of_one_session_is_the_plain_bootstrap_and_longer_ones_stay_together() -> None:
    """The count of a session and of the next are the same but for the ends of blocks."""
    for block, together in ((1, 0.0), (5, 0.8), (25, 0.96)):
        counts = resampled_counts(400, block, 0, 300)
        pairs = np.corrcoef(counts[:, :-1].ravel(), counts[:, 1:].ravel())[0, 1]
        assert pairs == pytest.approx(together, abs=0.03)


def test_it_is_the_spread_of_the_means_over_drawn_sessions() -> None:
    losses = np.random.default_rng(1).exponential(size=(2, 3, 60))
    losses[0, 1, 7:20] = np.nan
    found = error_bar(losses, COUNTS)
    for i in range(2):
        for j in range(3):
            means = [np.nanmean(losses[i, j, drawn_sessions(row)]) for row in COUNTS]
            assert found.estimate[i, j] == pytest.approx(np.nanmean(losses[i, j]), rel=1e-9)
            assert found.standard_error[i, j] == pytest.approx(np.std(means, ddof=1), rel=1e-8)
            assert (found.low[i, j], found.high[i, j]) == pytest.approx(tuple(np.quantile(means, (0.025, 0.975))))


def test_the_skill_is_resampled_as_a_ratio_over_common_sessions() -> None:
    draws = np.random.default_rng(2)
    model_loss, baseline_loss = draws.exponential(size=(2, 60)), draws.exponential(1.2, size=(2, 60))
    model_loss[0, 3:9], baseline_loss[0, 30], baseline_loss[1, 5] = np.nan, np.nan, np.nan
    found = skill_error_bar(model_loss, baseline_loss, COUNTS)
    for k in range(2):
        both = np.isfinite(model_loss[k]) & np.isfinite(baseline_loss[k])
        skills = []
        for row in COUNTS:
            sessions = [t for t in drawn_sessions(row) if both[t]]
            skills.append(1 - model_loss[k, sessions].mean() / baseline_loss[k, sessions].mean())
        assert found.estimate[k] == pytest.approx(
            1 - model_loss[k, both].mean() / baseline_loss[k, both].mean(), rel=1e-9
        )
        assert found.standard_error[k] == pytest.approx(np.std(skills, ddof=1), rel=1e-8)
        assert (found.low[k], found.high[k]) == pytest.approx(tuple(np.quantile(skills, (0.025, 0.975))))
    assert skill_error_bar(model_loss, model_loss, COUNTS).standard_error.tolist() == pytest.approx(
        [0.0, 0.0], abs=1e-12
    )


def test_its_variance_is_the_analytic_one() -> None:
    """Politis and Romano (1994), lemma 1, which needs no draw."""
    values = autoregressive(np.random.default_rng(3), 4, 300, rho=0.5)
    found = error_bar(values, resampled_counts(300, 8, 0, 4000))
    analytic = [bootstrap_error(row, 8) / np.sqrt(300) for row in values]
    assert found.standard_error.tolist() == pytest.approx(analytic, rel=0.04)


@pytest.mark.parametrize("n", [250, 1000])
def test_the_interval_covers_the_truth(n: int) -> None:
    found = error_bar(independent(np.random.default_rng(n), 1000, n), resampled_counts(n, block_length(n, 1), 0))
    covered = np.mean((found.low <= 0) & (found.high >= 0))
    assert 0.91 <= covered <= 0.97


def test_what_cannot_be_had_is_missing() -> None:
    losses = np.full((3, 60), np.nan)
    losses[0, 4], losses[1] = 1.0, 0.0
    found = error_bar(losses, COUNTS)
    assert found.estimate.tolist() == pytest.approx([1.0, 0.0, np.nan], nan_ok=True)
    assert found.standard_error.tolist() == pytest.approx([0.0, 0.0, np.nan], nan_ok=True)
    assert np.isnan(skill_error_bar(losses[:1] + np.zeros((1, 60)), np.zeros((1, 60)), COUNTS).estimate).all()
    with pytest.raises(UsageError, match="59 sessions"):
        error_bar(np.zeros((2, 59)), COUNTS)
    with pytest.raises(UsageError, match="block of 0"):
        resampled_counts(60, 0, 0)
    with pytest.raises(UsageError, match="block of 5"):
        resampled_counts(0, 5, 0)
