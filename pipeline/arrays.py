"""Aliases of the array types; a comment at each use gives the shape."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]
Indices = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
Sessions = npt.NDArray[np.datetime64]
