import pytest
from playwright.sync_api import expect
from wire_double import LONG_TEXT, MEMBERS, START

pytestmark = pytest.mark.browser

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]
# In milliseconds; delays count.
LONGEST_MOTION = """() => Math.max(...[...document.querySelectorAll("*")].flatMap(element => {
  const style = getComputedStyle(element);
  return [style.transitionDuration, style.transitionDelay, style.animationDuration]
    .flatMap(list => list.split(",").map(part => parseFloat(part) * 1000));
}))"""
OVERFLOWING = """() => [...document.querySelectorAll("body *")].filter(element => {
  const box = element.getBoundingClientRect();
  return box.width > 1 && box.right > document.documentElement.clientWidth + 1;
}).map(element => element.outerHTML.slice(0, 80))"""


def violations(page):
    from axe_playwright_python.sync_playwright import Axe

    page.evaluate("Promise.all(document.getAnimations().map(animation => animation.finished))")
    options = {"runOnly": {"type": "tag", "values": RULES}, "resultTypes": ["violations"]}
    found = Axe().run(page, options=options).response
    # A run that checked nothing would find nothing.
    assert len(found["passes"]) > 20
    return [(one["id"], one["nodes"][0]["html"]) for one in found["violations"]]


@pytest.mark.parametrize("language", ["en", "tr"])
@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_fits_and_is_accessible_from_empty_to_answered(visit, width, theme, language):
    page = visit(width=width, theme=theme, language=language)
    expect(page.locator("html")).to_have_attribute("lang", language)
    assert violations(page) == []
    page.fill("#text", LONG_TEXT)
    page.click("#analyze")
    expect(page.locator("#entries li")).to_have_count(1)
    page.locator("#marked span").nth(2).focus()
    expect(page.locator("#tooltip")).to_be_visible()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(OVERFLOWING) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_problem_halfway_and_a_field_for_the_key_are_accessible(visit, double, theme):
    down = ("member_down", {"name": "GBM", "reason": "starts again after a crash"})
    error = {"error": "this server asks for a key", "code": "unauthorized", "detail": {}}
    double.info["auth_required"] = True
    double.script = [START, ("member", MEMBERS[0]), down, ("error", {"error": error})]
    page = visit(width=360, theme=theme)
    page.fill("#text", "Few words.")
    page.click("#analyze")
    expect(page.locator("#problem h3")).to_be_visible()
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") == 360


@pytest.mark.parametrize("width", [360, 1280])
def test_words_without_an_end_do_not_widen_the_page(visit, double, width):
    long = "W" * 3000
    double.info["members"] = [long[:80], "B"]
    double.script = [
        ("start", {"members": double.info["members"], "words": 1}),
        ("member", {**MEMBERS[0], "name": long[:80]}),
        ("member_down", {"name": "B", "reason": long[:300]}),
        ("sentences", {"sentences": [{"start": 0, "end": 3000, "probability": {"0": 0.9}}]}),
        ("error", {"error": {"error": long[:300], "code": "timeout", "detail": {}}}),
    ]
    page = visit(width=width)
    page.fill("#text", long)
    page.click("#analyze")
    expect(page.locator("#problem q")).to_be_visible()
    page.locator("#marked span").focus()
    assert page.evaluate("document.documentElement.scrollWidth") == width
    assert page.evaluate(OVERFLOWING) == []


def test_nothing_moves_for_longer_than_150_ms_and_nothing_at_all_if_so_wished(visit):
    page = visit()
    page.fill("#text", LONG_TEXT)
    page.click("#analyze")
    expect(page.locator("#entries li")).to_have_count(1)
    assert 0 < page.evaluate(LONGEST_MOTION) <= 150
    page.emulate_media(reduced_motion="reduce")
    assert page.evaluate(LONGEST_MOTION) == 0


def test_the_verdict_does_not_push_the_bars_away(visit, double):
    double.script = None
    page = visit()
    top = "document.querySelector('#bars').getBoundingClientRect().top + window.scrollY"
    before = page.evaluate(top)
    page.fill("#text", LONG_TEXT)
    page.click("#analyze")
    expect(page.locator("#verdict .stripKey")).to_be_visible()
    assert abs(page.evaluate(top) - before) <= 24  # half a bar


def test_on_a_phone_the_result_comes_into_view(visit):
    page = visit(width=360)
    page.fill("#text", LONG_TEXT)
    page.click("#analyze")
    expect(page.locator("#verdict .words")).to_be_in_viewport()


def test_the_page_without_scripts_still_says_what_it_is(visit):
    page = visit(java_script_enabled=False, is_ready="#text")
    expect(page.locator("noscript p")).to_be_visible()
