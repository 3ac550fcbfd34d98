"""A file of prices to import, and the time after its last session."""

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

import pandas as pd

from pipeline.market.calendars import closed_at
from tests.market.rows import good_rows

ROWS = good_rows(130, "2023-08-01").drop(columns="adj_close")
LAST = ROWS["session"].iloc[-1].date()
NOW = closed_at("XNYS", LAST) + timedelta(hours=1)


def written(path: Path, frames: Mapping[str, pd.DataFrame]) -> Path:
    pd.concat([rows.assign(ticker=name) for name, rows in frames.items()]).to_csv(path, index=False)
    return path
