# ruff: noqa: RUF001 - Turkish has letters that look like others
import pytest
from playwright.sync_api import expect
from wire_double import CUT, HOLD, LONG_TEXT, MEMBERS, START

pytestmark = pytest.mark.browser


def analyze(page):
    page.fill("#text", LONG_TEXT)
    page.click("#analyze")


@pytest.mark.parametrize(
    ("status", "code", "english", "turkish"),
    [
        (413, "text_too_long", "This text is too long", "Bu metin çok uzun"),
        (422, "invalid_request", "The server cannot read this text", "Sunucu bu metni okuyamıyor"),
        (429, "queue_full", "The server is busy", "Sunucu meşgul"),
        (500, "internal_error", "Something went wrong", "Bir şeyler ters gitti"),
        (503, "stopping", "The server is not ready", "Sunucu hazır değil"),
        (504, "timeout", "This took too long", "Bu çok uzun sürdü"),
    ],
)
def test_an_error_is_told_kindly_in_both_languages(visit, double, status, code, english, turkish):
    double.refuse(status, code, "what the <b>server</b> said")
    page = visit()
    analyze(page)
    problem = page.locator("#problem")
    expect(problem.locator("h3")).to_have_text(english)
    expect(problem.locator("q")).to_have_text("what the <b>server</b> said")
    expect(page.locator("#status")).to_have_text(english)
    expect(page.locator("#text")).to_have_value(LONG_TEXT)
    page.click("[data-language=tr]")
    expect(problem.locator("h3")).to_have_text(turkish)
    assert f"status of {status}" in visit.complaints.pop()


def test_trying_again_after_an_error_answers(visit, double):
    double.refuse(429, "queue_full", "256 texts wait already")
    page = visit()
    analyze(page)
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#verdict .words")).to_have_text("Probably written by AI")
    expect(page.locator("#problem")).to_be_hidden()
    assert "status of 429" in visit.complaints.pop()


@pytest.mark.parametrize("retry_after", ["7", "Fri, 01 Jan 2027 00:01:07 GMT"])
def test_the_wait_that_the_server_asks_for_is_counted_down(visit, double, retry_after):
    double.refuse(503, "starting", "the model is being loaded", retry_after)
    page = visit(prepare=lambda page: page.clock.install(time="2027-01-01T00:00:00Z"))
    page.clock.pause_at("2027-01-01T00:01:00Z")
    analyze(page)
    wait = page.locator("#problem .wait")
    expect(wait).to_have_text("The server asks to wait: 7 seconds.")
    page.clock.run_for(6000)
    expect(wait).to_have_text("The server asks to wait: 1 second.")
    page.clock.run_for(1000)
    expect(wait).to_have_text("You can try again now.")
    assert "status of 503" in visit.complaints.pop()


def test_a_connection_cut_in_the_middle_keeps_what_arrived(visit, double):
    double.script = [START, ("member", MEMBERS[0]), HOLD, CUT]
    page = visit()
    analyze(page)
    drf = page.locator("#bars [data-name=DRF]")
    expect(drf).to_contain_text("Human 58%")
    double.release()  # not before: a browser drops what it has not yet handed on
    expect(page.locator("#problem h3")).to_have_text("The connection was lost")
    expect(drf).to_contain_text("Human 58%")
    expect(page.locator("#bars [data-name=BERT]")).to_have_text("BERTno answer")
    expect(page.locator("#entries li")).to_have_count(0)
    assert "ERR_INCOMPLETE_CHUNKED_ENCODING" in visit.complaints.pop()


def test_a_stream_that_ends_too_early_is_not_taken_for_an_answer(visit, double):
    double.script = [START, ("member", MEMBERS[0])]
    page = visit()
    analyze(page)
    expect(page.locator("#problem h3")).to_have_text("The connection was lost")


def test_an_error_within_the_stream_is_told(visit, double):
    error = {"error": "no answer within 30 s", "code": "timeout", "detail": {}}
    double.script = [START, ("member", MEMBERS[0]), ("error", {"error": error})]
    page = visit()
    analyze(page)
    expect(page.locator("#problem h3")).to_have_text("This took too long")
    expect(page.locator("#problem q")).to_have_text("no answer within 30 s")
    expect(page.locator("#bars [data-name=DRF]")).to_contain_text("58%")


def test_a_wrong_key_shows_and_marks_its_field(visit, double):
    double.refuse(401, "unauthorized", "this server asks for a key")
    page = visit()
    analyze(page)
    expect(page.locator("#problem h3")).to_have_text("The server wants a valid API key")
    expect(page.get_by_label("API key")).to_be_focused()
    expect(page.get_by_label("API key")).to_have_attribute("aria-invalid", "true")
    assert "status of 401" in visit.complaints.pop()


def test_an_answer_of_a_proxy_that_is_no_json_is_told_by_its_status(visit):
    page = visit()
    page.route("**/v1/analyze", lambda route: route.fulfill(status=502, body="<h1>Bad</h1>"))
    analyze(page)
    expect(page.locator("#problem h3")).to_have_text("The server is not ready")
    expect(page.locator("#problem q")).to_have_count(0)
    assert "status of 502" in visit.complaints.pop()


def test_a_server_that_does_not_answer_is_asked_again(visit):
    blocked = {"is": True}

    def answer(route):
        route.abort() if blocked["is"] else route.continue_()

    page = visit(prepare=lambda page: page.route("**/v1/info", answer), is_ready="#problem button")
    expect(page.locator("#problem h3")).to_have_text("The connection was lost")
    blocked["is"] = False
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("h1")).to_have_text("Who wrote this?")
    expect(page.locator("#problem")).to_be_hidden()
    assert "ERR_FAILED" in visit.complaints.pop()
