"""Debian's Chromium, driven by Playwright: required in CI, else tests without it are skipped."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, sync_playwright


def require_chromium() -> str:
    """Return the path of Chromium; skip where there is none. CI installs it, and says that it must be there."""
    path = shutil.which("chromium")
    if path is not None:
        return path
    if os.environ.get("TAPECAST_REQUIRE_CHROMIUM"):
        pytest.fail("no chromium on the PATH although TAPECAST_REQUIRE_CHROMIUM is set")
    pytest.skip("no chromium on the PATH (Debian's package chromium)")


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yield a running browser without a window; it has no sandbox, as root cannot have one."""
    path = require_chromium()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, chromium_sandbox=False)
        try:
            yield browser
        finally:
            browser.close()
