"""A clock that tests move, and request limits without real waits."""

import threading
from datetime import UTC, datetime, timedelta

from pipeline.market.yahoo.rate_limit import Clock, RequestLimits

NOW = datetime(2024, 12, 31, 12, tzinfo=UTC)
QUICK = RequestLimits(requests_per_second=2_000, first_wait_seconds=0.01, timeout_seconds=5)


class MovedClock:
    """Seconds since its making; sleeping moves it on and costs no time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.slept: list[float] = []
        self.lock = threading.Lock()

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        with self.lock:
            self.seconds += seconds
            self.slept.append(seconds)

    def now(self) -> datetime:
        return NOW + timedelta(seconds=self.seconds)

    def clock(self) -> Clock:
        return Clock(self.monotonic, self.sleep, self.now)
