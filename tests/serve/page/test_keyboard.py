import pytest
from playwright.sync_api import expect
from wire_double import HOLD, LONG_TEXT, START, whole_script

pytestmark = pytest.mark.browser

FOCUS_IS_VISIBLE = """() => {
  const style = getComputedStyle(document.activeElement);
  return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
}"""
FOCUSED = "document.activeElement.id || document.activeElement.textContent.trim()"


def tab_to(page, selector, most=25):
    """Press Tab until the element has the focus, which must be visible at each stop."""
    for _ in range(most):
        page.keyboard.press("Tab")
        assert page.evaluate(FOCUS_IS_VISIBLE), page.evaluate(FOCUSED)
        if page.locator(selector).evaluate("element => element === document.activeElement"):
            return
    raise AssertionError(f"no {selector} within {most} stops")


def test_a_reader_without_a_pointer_reaches_everything(visit):
    page = visit()
    page.keyboard.press("Tab")
    expect(page.locator(".skip")).to_be_focused()
    expect(page.locator(".skip")).to_be_in_viewport()
    page.keyboard.press("Enter")
    expect(page.locator("#text")).to_be_focused()
    page.keyboard.insert_text(LONG_TEXT)
    tab_to(page, "#analyze")
    page.keyboard.press("Enter")
    expect(page.locator("#verdict .words")).to_have_text("Probably written by AI")

    tab_to(page, "#marked span:first-child")
    expect(page.locator("#tooltip")).to_have_text("AI 95% · Human 5%")
    tab_to(page, "#historyClear")  # one stop for all sentences
    tab_to(page, "#entries button")
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("Opened again")
    expect(page.locator("#entries button")).to_be_focused()


def test_arrows_walk_through_sentences_and_escape_closes_the_tooltip(visit):
    page = visit()
    page.fill("#text", LONG_TEXT)
    page.click("#analyze")
    spans, tooltip = page.locator("#marked span"), page.locator("#tooltip")
    tab_to(page, "#marked span:first-child")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(spans.nth(2)).to_be_focused()
    expect(tooltip).to_have_text("AI 64% · Human 36%")
    page.keyboard.press("Escape")
    expect(tooltip).to_be_hidden()
    page.keyboard.press("Enter")
    expect(tooltip).to_be_visible()
    page.keyboard.press("ArrowLeft")
    expect(spans.nth(1)).to_be_focused()
    page.keyboard.press("End")
    expect(spans.last).to_be_focused()
    page.keyboard.press("ArrowRight")
    expect(spans.last).to_be_focused()
    page.keyboard.press("Home")
    expect(spans.first).to_be_focused()
    page.keyboard.press("Tab")
    expect(tooltip).to_be_hidden()
    page.keyboard.press("Shift+Tab")
    expect(spans.first).to_be_focused()


def test_the_tooltip_follows_the_pointer_and_may_be_pointed_at(visit):
    page = visit()
    page.fill("#text", LONG_TEXT)
    page.click("#analyze")
    page.locator("#marked span").nth(4).hover()
    expect(page.locator("#tooltip")).to_have_text("AI 22% · Human 78%")
    page.locator("#tooltip").hover()
    expect(page.locator("#tooltip")).to_be_visible()
    page.locator("h1").hover()
    expect(page.locator("#tooltip")).to_be_hidden()


@pytest.mark.parametrize("key", ["Control", "Meta"])
def test_shortcuts_analyze_and_clear_from_anywhere(visit, double, key):
    page = visit()
    page.fill("#text", LONG_TEXT)
    page.keyboard.press(f"{key}+Enter")
    expect(page.locator("#verdict .words")).to_have_text("Probably written by AI")
    page.locator("#theme").focus()
    page.keyboard.press(f"{key}+k")
    expect(page.locator("#text")).to_have_value("")
    expect(page.locator("#text")).to_be_focused()
    expect(page.locator("#verdict")).to_contain_text("The verdict appears here.")
    expect(page.locator("#sentences")).to_be_hidden()
    expect(page.locator("#status")).to_have_text("Cleared.")
    expect(page.locator("#entries li")).to_have_count(1)


def test_the_focus_moves_on_when_its_button_goes_away(visit, double):
    double.script = [START, HOLD, *whole_script(LONG_TEXT)[1:]]
    double.refuse(429, "queue_full", "256 texts wait already")
    page = visit()
    page.fill("#text", LONG_TEXT)
    page.keyboard.press("Control+Enter")
    tab_to(page, "#problem button")
    page.keyboard.press("Enter")
    expect(page.locator("#problem")).to_be_hidden()
    expect(page.locator("#analyze")).to_be_focused()
    page.locator("#stop").focus()
    double.release()
    expect(page.locator("#verdict .words")).to_have_text("Probably written by AI")
    expect(page.locator("#analyze")).to_be_focused()
    assert "status of 429" in visit.complaints.pop()


def test_clearing_cancels_what_runs(visit, double):
    double.script = [START, HOLD]
    page = visit()
    page.fill("#text", LONG_TEXT)
    page.keyboard.press("Control+Enter")
    expect(page.locator("#stop")).to_be_visible()
    page.keyboard.press("Control+k")
    assert double.ends.get(timeout=30) == "canceled"
    expect(page.locator("#stop")).to_be_hidden()


def test_a_plain_enter_makes_a_new_line(visit, double):
    page = visit()
    page.fill("#text", "One")
    page.locator("#text").press("Enter")
    expect(page.locator("#text")).to_have_value("One\n")
    assert double.requests == []
