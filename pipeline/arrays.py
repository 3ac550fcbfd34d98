"""Aliases of the array types; a comment at each use gives the shape."""

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Floats32 = npt.NDArray[np.float32]
Indices = npt.NDArray[np.int64]
Booleans = npt.NDArray[np.bool_]
Sessions = npt.NDArray[np.datetime64]
