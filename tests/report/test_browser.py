import pytest
from sample_records import (
    bench_record,
    compare_record,
    doctor_record,
    sweep_versus_record,
    versus_record,
)

from ivme.report.writing import write_report

CHROMIUM = "/usr/bin/chromium"
RECORDS = (
    bench_record(),
    versus_record(),
    compare_record(),
    doctor_record(),
    sweep_versus_record(),
)
CONTRAST = """() => {
  const rgb = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map(v => v / 255)
    .map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = element => {
    for (; element; element = element.parentElement) {
      const color = rgb(getComputedStyle(element).backgroundColor);
      if (color.length === 3 || color[3] > 0) return color;
    }
  };
  let least = Infinity;
  for (const element of document.querySelectorAll("body *")) {
    if (![...element.childNodes].some(n => n.nodeType === 3 && n.data.trim())) continue;
    const style = getComputedStyle(element);
    const color = rgb(element.closest("svg") ? style.fill : style.color);
    const [a, b] = [light(color), light(behind(element))].sort((x, y) => y - x);
    least = Math.min(least, (a + 0.05) / (b + 0.05));
  }
  return least;
}"""
UNREADABLE_SVG_TEXT = """() => [...document.querySelectorAll("svg text")].filter(text => {
  const box = text.getBoundingClientRect(), page = document.documentElement.clientWidth;
  return box.left < 0 || box.right > page;
}).map(text => text.textContent)"""


@pytest.fixture(scope="module")
def browser():
    pytest.importorskip("playwright", reason="playwright is not installed: pip install .[dev]")
    from pathlib import Path

    from playwright.sync_api import sync_playwright

    if not Path(CHROMIUM).exists():
        pytest.skip(f"no {CHROMIUM}: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    output = tmp_path_factory.mktemp("report") / "report.html"
    write_report(RECORDS, output)
    return output.as_uri()


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_a_page_opens_offline_and_fits(browser, address, width, theme):
    context = browser.new_context(
        viewport={"width": width, "height": 800}, color_scheme=theme, offline=True
    )
    page = context.new_page()
    messages, requests = [], []
    page.on("console", lambda message: messages.append(message.text))
    page.on("pageerror", lambda error: messages.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    for details in page.locator("details > summary").all():
        details.click()
    assert messages == []
    assert requests == [address]
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(UNREADABLE_SVG_TEXT) == []
    assert page.evaluate(CONTRAST) >= 4.5
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (background == "rgb(20, 23, 27)") == (theme == "dark")
    context.close()
