"""Trees as arrays against a walk row by row; what is no tree is refused."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import FitError
from pipeline.forecasters.trees import Forest, arrays_of, forest_of, rounded_down, sum_of_trees

FEATURES, TREES, NODES = 3, 4, 9


def random_forest(draws: np.random.Generator) -> Forest:
    """Trees of 1, 3, 5 or 7 nodes in preorder, padded with leaves; thresholds that rows hit exactly."""
    fields = {name: np.zeros((TREES, NODES), dtype=np.float32) for name in Forest.__dataclass_fields__}
    for tree in range(TREES):
        leaves = {0}
        for split in range(int(draws.integers(0, 4))):
            node = int(draws.choice(sorted(leaves)))
            left, right = 2 * split + 1, 2 * split + 2
            leaves = (leaves - {node}) | {left, right}
            fields["left"][tree, node], fields["right"][tree, node] = left, right
            fields["feature"][tree, node] = draws.integers(FEATURES)
            fields["threshold"][tree, node] = draws.integers(-2, 3)
            fields["missing_left"][tree, node] = draws.integers(2)
        fields["value"][tree, sorted(leaves)] = draws.normal(size=len(leaves))
    return Forest(**fields)


def walked(forest: Forest, tree: int, row: np.ndarray) -> float:
    node = 0
    while forest.left[tree, node]:
        value = row[int(forest.feature[tree, node])]
        missing = bool(forest.missing_left[tree, node]) if np.isnan(value) else False
        left = missing or value <= forest.threshold[tree, node]
        node = int(forest.left[tree, node] if left else forest.right[tree, node])
    return float(forest.value[tree, node])


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(0, 10_000))
def test_every_row_ends_in_the_leaf_that_a_walk_finds(seed: int) -> None:
    draws = np.random.default_rng(seed)
    forest = random_forest(draws)
    rows = draws.integers(-3, 4, (20, FEATURES)).astype(np.float32)
    rows[draws.uniform(size=rows.shape) < 0.2] = np.nan
    expected = [sum(walked(forest, tree, row) for tree in range(TREES)) for row in rows]
    np.testing.assert_allclose(sum_of_trees(forest, list(rows.T)), expected, rtol=1e-6, atol=1e-6)
    shared = np.float32(1.0)  # a feature that all rows share, as a single value
    alike = [*rows.T[:-1], np.full(len(rows), shared)]
    np.testing.assert_array_equal(sum_of_trees(forest, [*rows.T[:-1], shared]), sum_of_trees(forest, alike))


def test_a_forest_without_trees_adds_nothing_and_survives_its_names() -> None:
    empty = Forest(*[np.zeros((0, 1), dtype=np.float32)] * 6)
    np.testing.assert_array_equal(sum_of_trees(empty, [np.ones(3, dtype=np.float32)]), np.zeros(3))
    forest = random_forest(np.random.default_rng(1))
    again = forest_of(arrays_of(forest, "q05"), "q05")
    assert again.value.tobytes() == forest.value.tobytes()
    assert again.threshold.tobytes() == forest.threshold.tobytes()


@pytest.mark.parametrize(("name", "value"), [("left", 1.0), ("right", 1.0), ("right", 9.0), ("feature", -1.0)])
def test_nodes_that_lead_nowhere_are_refused(name: str, value: float) -> None:
    """Node 1 is an inner one with children 3 and 4: a child that is itself, none of the tree, or no feature."""
    arrays = {field: np.zeros((1, 5), dtype=np.float32) for field in Forest.__dataclass_fields__}
    arrays["left"][0, :2], arrays["right"][0, :2] = (1, 3), (2, 4)
    sound = Forest(**arrays)
    changed = arrays[name].copy()
    changed[0, 1] = value
    with pytest.raises(FitError, match="do not lead to leaves"):
        replace(sound, **{name: changed})
    with pytest.raises(FitError, match="shapes"):
        replace(sound, value=sound.value[:, :4])


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(width=32, allow_nan=False, allow_infinity=False), st.floats(0, 1))
def test_a_threshold_between_two_neighbours_still_parts_them(low: float, share: float) -> None:
    """A threshold of float64 parts float32 features as its float32 does."""
    with np.errstate(over="ignore"):
        high = float(np.nextafter(np.float32(low), np.float32(np.inf)))
    threshold = low + share * (high - low)
    if not np.isfinite(threshold):
        return
    kept = float(rounded_down(np.array([threshold]))[0])
    for value in (low, high):
        assert (value <= kept) == (value <= threshold)
