"""Writing bars into one file that people and other programs can read, and `--path` reads again."""

import io
from pathlib import Path

from pipeline.errors import UsageError
from pipeline.files import write_whole
from pipeline.market.adjustment import View, adjusted
from pipeline.market.bars import Bars


def write_prices(bars: Bars, view: View, path: Path) -> None:
    """Write the bars in an adjusted view as CSV or Parquet, by the file's suffix; whole or not at all.

    adj_close is written only where it is the source of returns. Raises UsageError for another suffix, or where the
    file cannot be written.
    """
    frame = adjusted(bars.frame, view)
    if bars.returns_from != "adj_close":
        frame = frame.drop(columns="adj_close")
    frame = frame.rename(columns={"session": "date"})
    suffix = path.suffix.lower()
    if suffix == ".csv":
        content = frame.to_csv(index=False, date_format="%Y-%m-%d").encode()
    elif suffix == ".parquet":
        buffer = io.BytesIO()
        frame.to_parquet(buffer, index=False, compression="zstd")
        content = buffer.getvalue()
    else:
        raise UsageError(f"found {path.name} as the file to write, expected a name that ends in .csv or .parquet")
    write_whole(path, content)
