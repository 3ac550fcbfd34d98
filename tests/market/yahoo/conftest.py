"""A fake Yahoo with two tickers, and clients of it."""

from collections.abc import Callable, Iterator
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.market.yahoo.client import YahooClient
from pipeline.market.yahoo.rate_limit import Clock, RequestLimits
from tests.market.fake_yahoo import FakeYahoo
from tests.market.rows import as_yahoo_exports, good_rows

from .clocks import QUICK

START = date(2024, 1, 1)
MakeClient = Callable[..., YahooClient]


@pytest.fixture(scope="session")
def reported() -> dict[str, pd.DataFrame]:
    """Yahoo's rows of two tickers, made once because it is slow; tests do not change these frames."""
    return {"AAPL": as_yahoo_exports(good_rows()), "MSFT": as_yahoo_exports(good_rows(seed=1))}


@pytest.fixture
def fake(reported: dict[str, pd.DataFrame], tmp_path: Path) -> Iterator[FakeYahoo]:
    with FakeYahoo(dict(reported), tmp_path) as it:
        yield it


@pytest.fixture
def client_with(fake: FakeYahoo, tmp_path: Path) -> Iterator[MakeClient]:
    """A function from request limits and a clock to a client of the fake."""
    with fake.session() as session:

        def made(limits: RequestLimits = QUICK, clock: Clock | None = None) -> YahooClient:
            return YahooClient(START, session, tmp_path / "cache", limits, clock or Clock(), np.random.default_rng(0))

        yield made


@pytest.fixture
def client(client_with: MakeClient) -> YahooClient:
    return client_with()
