"""The close of a stock from its daily open, high, low and close: price levels, as in its tutorial."""

from dataclasses import replace
from datetime import UTC, date, datetime
from functools import lru_cache
from typing import Literal

import numpy as np
from pydantic import BaseModel, Field

from pipeline.arrays import Floats
from pipeline.dataset.folds import FoldSpec, walk_forward
from pipeline.dataset.panel import Panel, build_panel
from pipeline.errors import UsageError
from pipeline.forecasters.recurrent.specification import PointHeadSpec, RecurrentSpec
from pipeline.market.sources import open_source
from pipeline.market.specification import SampleSource
from pipeline.market.validation.validate import load_bars
from pipeline.tutorials.data import LabelledSeries, TutorialData, value_frames

SequenceShape = Literal["many_to_one", "one_to_one", "one_to_many", "many_to_many"]

OHLC_COLUMNS = ("open", "high", "low", "close")
OHLC_WINDOW = 20
OHLC_HORIZONS = 5  # of one to many
SPLIT = FoldSpec(train_end=date(2009, 12, 31), valid_end=date(2010, 12, 31))
AFTER_THE_SAMPLE = datetime(2013, 4, 1, tzinfo=UTC)


class OhlcSpec(BaseModel, frozen=True, extra="forbid"):
    """The specification of the tutorial on Open, High, Low and Close."""

    ticker: str = Field(
        "GOOG", description="Stock of the bundled sample; one without splits, since price levels are forecast"
    )
    input_size: int = Field(
        4, ge=1, le=4, description="Number of input columns: the last ones of Open, High, Low, Close"
    )
    hidden_size: int = Field(32, ge=1, le=1024, description="Units per layer")
    num_layers: int = Field(1, ge=1, le=8, description="Stacked layers")
    nonlinearity: Literal["tanh", "relu"] = Field("tanh", description="Nonlinearity of every unit")
    bias: bool = Field(True, description="Whether the cell has bias terms")
    batch_first: Literal[True] = Field(True, description="Always true: no other order is supported")
    dropout: float = Field(0.0, ge=0.0, lt=1.0, description="Dropout after every layer while training")

    @property
    def columns(self) -> tuple[str, ...]:
        """The input columns."""
        return OHLC_COLUMNS[-self.input_size :]

    def network(self, shape: SequenceShape) -> RecurrentSpec:
        """Return the network of this specification in one of the four shapes."""
        return RecurrentSpec(
            cell="rnn",
            hidden_size=self.hidden_size,
            num_layers=self.num_layers,
            nonlinearity=self.nonlinearity,
            bias=self.bias,
            dropout=self.dropout,
            shape=shape,
            horizon_mode="decoder" if shape == "one_to_many" else "direct",
            head=PointHeadSpec(loss="mse"),
        )


def ohlc_data(spec: OhlcSpec, shape: SequenceShape, _seed: int = 0) -> TutorialData:
    """Return the data of a stock's price levels, scaled on training rows; raises UsageError for an unknown ticker."""
    panel = _panel(spec.ticker)
    usable = panel.present.copy()
    usable[:, : int(np.argmax(usable[0])) + OHLC_WINDOW - 1] = False
    (fold,) = walk_forward(panel.sessions, usable, SPLIT)
    known = panel.close[0, : fold.train.stop]
    centre, unit = float(np.nanmean(known)), float(np.nanstd(known))
    level = (panel.close - centre) / unit  # [ticker, session]
    inputs = np.stack([getattr(panel, name) for name in spec.columns], axis=-1)
    values = _future_levels(level, OHLC_HORIZONS if shape == "one_to_many" else 1)
    frames = value_frames(LabelledSeries(inputs, values, usable, spec.columns, panel.tickers), panel.sessions)
    priced = replace(frames, reference_close=panel.close)
    return TutorialData(priced, fold, panel.tickers, panel.tickers, np.nan, centre, unit, last_close=level)


def _future_levels(level: Floats, horizons: int) -> Floats:
    """Return the levels of the next sessions [ticker, session, horizon], NaN beyond the last."""
    padded = np.concatenate((level, np.full((len(level), horizons), np.nan)), axis=1)
    return np.stack([padded[:, h : h + level.shape[1]] for h in range(1, horizons + 1)], axis=-1)


@lru_cache(maxsize=1)
def _panel(ticker: str) -> Panel:
    source = open_source(SampleSource())
    if ticker not in source.tickers():
        raise UsageError(f"found ticker {ticker!r}, expected one of the sample: {', '.join(source.tickers())}")
    return build_panel(load_bars(source, (ticker,), AFTER_THE_SAMPLE, OHLC_WINDOW).bars)
