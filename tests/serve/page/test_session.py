# ruff: noqa: RUF001 - Turkish has letters that look like others
import pytest
from playwright.sync_api import expect
from wire_double import DONE, LONG_TEXT, START, VERDICT

pytestmark = pytest.mark.browser

FORBID_STORAGE = """for (const name of ["localStorage", "sessionStorage"]) {
  Object.defineProperty(window, name, { get() { throw new DOMException("no", "SecurityError"); } });
}"""
LEAVE_ROOM = """room => {
  let filled = 0;
  for (let step = 2 ** 24; step >= 1; step /= 2) {
    try {
      sessionStorage.setItem("filler", "x".repeat(filled + step));
      filled += step;
    } catch {}
  }
  sessionStorage.setItem("filler", "x".repeat(filled - room));
}"""


def analyze(page, text):
    page.fill("#text", text)
    page.click("#analyze")
    expect(page.locator("#verdict .words")).to_be_visible()
    expect(page.locator("#entries .excerpt").first).to_contain_text(text[:20])


def test_what_was_analyzed_is_listed_and_opens_again_without_a_request(visit, double):
    page = visit()
    analyze(page, f"One. {LONG_TEXT}")
    double.script = [START, ("ensemble", {**VERDICT, "label": "Human", "prediction": 1}), DONE]
    analyze(page, f"Two. {LONG_TEXT}")
    expect(page.locator("#entries .said")).to_have_text(
        ["Probably written by a person", "Probably written by AI"]
    )
    page.locator("#entries button").nth(1).click()
    expect(page.locator("#text")).to_have_value(f"One. {LONG_TEXT}")
    expect(page.locator("#verdict .words")).to_have_text("Probably written by AI")
    expect(page.locator("#marked span").first).to_have_text("One.")
    expect(page.locator("#status")).to_have_text("Opened again: Probably written by AI")
    assert len(double.requests) == 2


def test_the_list_outlives_a_reload_but_not_the_tab(visit):
    page = visit()
    analyze(page, LONG_TEXT)
    page.reload()
    expect(page.locator("#entries li")).to_have_count(1)
    other = page.context.new_page()
    other.goto(page.url)
    expect(other.locator("#bars li")).to_have_count(5)
    expect(other.locator("#entries li")).to_have_count(0)


def test_the_list_can_be_cleared(visit):
    page = visit()
    analyze(page, LONG_TEXT)
    page.get_by_role("button", name="Clear the list").click()
    expect(page.locator("#entries li")).to_have_count(0)
    expect(page.locator("#historyNote")).to_have_text("What you analyze is listed here.")
    assert page.evaluate("sessionStorage.length") == 0


def test_the_list_gives_up_its_oldest_entries_when_storage_is_full(visit):
    page = visit()
    page.evaluate(LEAVE_ROOM, 250_000)
    text = "word " * 19_000  # two entries have room, three have not
    for number in range(3):
        analyze(page, f"{number}. {text}")
    expect(page.locator("#entries .excerpt").first).to_contain_text("2. word")
    kept = page.evaluate("JSON.parse(sessionStorage['ivme.history']).length")
    assert kept == 2


def test_language_and_theme_are_remembered_and_set_before_the_first_paint(visit):
    page = visit(theme="light", language="en")
    page.click("[data-language=tr]")
    page.click("#theme")
    page.reload()
    html = page.locator("html")
    expect(html).to_have_attribute("lang", "tr")
    expect(html).to_have_attribute("data-theme", "dark")
    expect(page.locator("h1")).to_have_text("Bunu kim yazdı?")
    expect(page.locator("#theme")).to_have_attribute("aria-pressed", "true")
    expect(page.locator("[data-language=tr]")).to_have_attribute("aria-pressed", "true")
    assert page.title() == "Bunu kim yazdı? · Ivme"


def test_the_theme_follows_the_browser_until_the_reader_chooses(visit):
    page = visit(theme="light")
    background = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(background) == "rgb(251, 251, 249)"
    page.emulate_media(color_scheme="dark")
    assert page.evaluate(background) == "rgb(20, 23, 27)"
    expect(page.locator("#theme")).to_have_attribute("aria-pressed", "true")
    page.click("#theme")
    assert page.evaluate(background) == "rgb(251, 251, 249)"


def test_numbers_and_times_are_written_as_the_language_does(visit):
    page = visit(language="tr")
    analyze(page, LONG_TEXT)
    expect(page.locator("#bars [data-name=DRF]")).to_have_text("DRFİnsan %581,9 msn")
    page.click("[data-language=en]")
    expect(page.locator("#bars [data-name=DRF]")).to_have_text("DRFHuman 58%1.9 ms")
    expect(page.locator("#marked span").first).to_have_attribute(
        "aria-description", "AI 95% · Human 5%"
    )


def test_both_languages_say_the_same_things(visit):
    keys = visit().evaluate(
        """async () => {
          const read = async name => (await import(`/page/messages_${name}.js`)).default;
          const shape = messages => Object.entries(messages).map(([key, value]) =>
            [key, typeof value, typeof value === "object" ? Object.keys(value) : value.length]
              .slice(0, typeof value === "string" ? 2 : 3));
          return [shape(await read("en")), shape(await read("tr"))];
        }"""
    )
    assert keys[0] == keys[1]
    assert len(keys[0]) > 80


def test_the_page_works_where_storage_is_forbidden(visit):
    page = visit(prepare=lambda page: page.add_init_script(FORBID_STORAGE))
    analyze(page, LONG_TEXT)
    page.click("#theme")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.click("#theme")
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
