"""Sums of regression trees as plain arrays, evaluated for many rows at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields

import numpy as np

from pipeline.arrays import Booleans, Floats, Floats32
from pipeline.errors import FitError

Column = Floats32 | np.float32
"""One feature of every row [row], or the value that all rows share."""


@dataclass(frozen=True)
class Forest:
    """Trees [tree, node], root first; a node without a left child is a leaf, and children come after their parent.

    A row goes left where its feature is at most the threshold, or missing and `missing_left` is 1. All are float32,
    as they are stored: indices of features and nodes are small enough to be exact.
    """

    feature: Floats32
    threshold: Floats32
    left: Floats32
    right: Floats32
    missing_left: Floats32
    value: Floats32

    def __post_init__(self) -> None:
        shapes = {getattr(self, field.name).shape for field in fields(self)}
        if len(shapes) != 1 or self.value.ndim != 2:
            raise FitError(f"found trees whose arrays have the shapes {sorted(shapes)}, expected one [tree, node]")
        parents = np.arange(self.value.shape[1])
        inner = self.left > 0
        after = (self.left > parents) & (self.right > parents)
        within = (self.left < len(parents)) & (self.right < len(parents)) & (self.feature >= 0)
        if not (after & within)[inner].all():
            raise FitError("found a tree whose nodes do not lead to leaves; expected children after their parents")


def forest_of(arrays: Mapping[str, Floats32], prefix: str) -> Forest:
    """Return the forest whose arrays are named prefix.feature, prefix.threshold and so on."""
    return Forest(**{field.name: arrays[f"{prefix}.{field.name}"] for field in fields(Forest)})


def arrays_of(forest: Forest, prefix: str) -> dict[str, Floats32]:
    """Return the arrays of a forest by name, as `forest_of` reads them."""
    return {f"{prefix}.{field.name}": getattr(forest, field.name) for field in fields(forest)}


def sum_of_trees(forest: Forest, columns: Sequence[Column]) -> Floats:
    """Return the sum of all trees' values [row], or a single one where no column differs by row."""
    total = np.zeros(np.broadcast_shapes(*(np.shape(column) for column in columns)))
    for tree in range(len(forest.value)):
        total += tree_value(forest, tree, columns)
    return total


def tree_value(forest: Forest, tree: int, columns: Sequence[Column]) -> Floats32 | np.float32:
    """Return one tree's value [row], worked out from its last node to the root: no row is looked at by itself."""
    values: list[Floats32 | np.float32] = list(forest.value[tree])
    left, right = forest.left[tree].astype(int).tolist(), forest.right[tree].astype(int).tolist()
    for node in reversed(range(len(values))):
        if left[node]:
            goes_left = _goes_left(forest, tree, node, columns)
            values[node] = np.where(goes_left, values[left[node]], values[right[node]])
            values[left[node]] = values[right[node]] = np.float32(0.0)  # frees what is no longer needed
    return values[0]


def _goes_left(forest: Forest, tree: int, node: int, columns: Sequence[Column]) -> Booleans:
    column, threshold = columns[int(forest.feature[tree, node])], forest.threshold[tree, node]
    # NaN is neither above nor at most anything.
    left = ~(column > threshold) if forest.missing_left[tree, node] else column <= threshold
    return np.asarray(left)


def rounded_down(threshold: Floats) -> Floats32:
    """Return the largest float32 at or below each threshold: a float32 feature is at most one where at most the other.

    The nearest float32 may lie above a threshold that stands between two neighbouring features.
    """
    nearest = threshold.astype(np.float32)
    return np.where(nearest > threshold, np.nextafter(nearest, np.float32(-np.inf)), nearest).astype(np.float32)
