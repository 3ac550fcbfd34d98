"""The session through which yfinance sends: each request waits its turn, and a refusal ends the attempt at once."""

from collections.abc import Callable
from typing import Any

from curl_cffi.requests import Cookies, Response, Session
from curl_cffi.requests.exceptions import HTTPError
from yfinance.exceptions import YFRateLimitError

PRICES_PATH = "/v8/finance/chart/"


class PacedSession(Session):  # type: ignore[misc]  # yfinance takes nothing but a curl_cffi session
    """Stands for another session, whose requests it sends in turn.

    Left to itself yfinance answers every refusal with three to five more requests (another cookie, another crumb, the
    same question again), and keeps the text of a refusal as its crumb. Here a 429, and for prices a 404 or a 5xx,
    is raised as soon as it comes; only a 401 is left to yfinance, which then rightly asks for a new crumb.
    """

    def __init__(self, sender: Session, wait_for_turn: Callable[[], None]) -> None:
        super().__init__()
        self._sender = sender
        self._wait_for_turn = wait_for_turn

    @property
    def cookies(self) -> Cookies:
        """The cookies of the session that sends."""
        return self._sender.cookies

    def request(self, method: str, url: str, **options: Any) -> Response:
        """The answer; raises YFRateLimitError where Yahoo refuses, HTTPError where it has no prices to give."""
        self._wait_for_turn()
        response = self._sender.request(method, url, **options)
        if response.status_code == 429:
            raise YFRateLimitError from _http_error(response)
        if PRICES_PATH in url and (response.status_code == 404 or response.status_code >= 500):
            raise _http_error(response)
        return response


class CookiesInMemory:
    """Stands for yfinance's file of cookies, which holds pickles: nothing read from disk may execute code.

    Without any such store yfinance would ask for a new cookie before every request.
    """

    def __init__(self) -> None:
        self._kept: dict[str, dict[str, Any]] = {}

    def lookup(self, strategy: str) -> dict[str, Any] | None:
        """What is kept under the name of a strategy; None where there is nothing."""
        return self._kept.get(strategy)

    def store(self, strategy: str, cookie: Any) -> None:
        """Keep the cookie; None removes it."""
        self._kept.pop(strategy, None)
        if cookie is not None:
            self._kept[strategy] = {"cookie": cookie}


def _http_error(response: Response) -> HTTPError:
    return HTTPError(f"HTTP status {response.status_code}", 0, response)
