"""Makes the shared builders of the tests importable from every room's tests."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
