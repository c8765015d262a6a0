import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# The double beside the tests is imported by name.
sys.path.insert(0, str(Path(__file__).parent))

CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
LOCALES = {"en": "en-US", "tr": "tr-TR"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    pytest.importorskip("playwright", reason="playwright is not installed: pip install .[dev]")
    from playwright.sync_api import sync_playwright

    if not Path(CHROMIUM).exists():
        pytest.skip(f"no {CHROMIUM}: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def running_double() -> Iterator[Any]:
    from wire_double import serve_double

    with serve_double() as double:
        yield double


@pytest.fixture
def double(running_double: Any) -> Any:
    running_double.reset()
    return running_double


class Visit:
    """Opens pages, and notes what the browser complained about and asked for."""

    def __init__(self, browser: Any, address: str) -> None:
        self._browser, self._address = browser, address
        self._contexts: list[Any] = []
        self.complaints: list[str] = []
        self.requests: list[str] = []

    def __call__(
        self,
        *,
        width: int = 1280,
        theme: str = "light",
        language: str = "en",
        prepare: Callable[[Any], object] = lambda page: None,
        is_ready: str = "#bars li",
        **options: Any,
    ) -> Any:
        """Return a page that has loaded and knows what the server runs."""
        context = self._browser.new_context(
            viewport={"width": width, "height": 800},
            color_scheme=theme,
            locale=LOCALES[language],
            **options,
        )
        self._contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self.requests.append(request.url))
        prepare(page)
        page.goto(self._address)
        page.wait_for_selector(is_ready)
        return page

    def close(self) -> None:
        """Close every page."""
        for context in self._contexts:
            context.close()


@pytest.fixture
def visit(browser: Any, double: Any) -> Iterator[Visit]:
    """Open pages; in the end, nothing but the server was asked and the console stayed empty.

    A test that provokes complaints takes them out of `visit.complaints`.
    """
    visit = Visit(browser, double.address)
    yield visit
    visit.close()
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith(double.address)] == []
