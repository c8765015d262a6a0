# ruff: noqa: RUF001 - Turkish has letters that look like others
import pytest
from playwright.sync_api import expect
from wire_double import (
    DONE,
    HOLD,
    INFO,
    LONG_TEXT,
    MEMBERS,
    START,
    VERDICT,
    score_sentences,
    utf16_length,
    whole_script,
)

from ivme.ensemble.words import count_words

pytestmark = pytest.mark.browser

FILLED = """name => {
  const row = document.querySelector(`#bars [data-name="${name}"]`);
  return row.querySelector(".fill").style.transform;
}"""


def test_each_bar_fills_the_moment_its_model_answers(visit, double):
    double.script = [START, ("member", MEMBERS[0]), HOLD, *whole_script(LONG_TEXT)[2:]]
    page = visit()
    page.fill("#text", LONG_TEXT)
    page.click("#analyze")
    expect(page.locator("#bars [data-name=DRF]")).to_have_text("DRFHuman 58%1.9 ms")
    expect(page.locator("#bars [data-name=BERT]")).to_have_text("BERTreading …")
    expect(page.locator("#progress")).to_have_text("1 of 5 answered")
    expect(page.locator("#verdict")).to_have_text("Reading …")
    assert page.evaluate(FILLED, "DRF") == "scaleX(0.58)"
    assert page.evaluate(FILLED, "BERT") == "scaleX(0)"

    double.release()
    expect(page.locator("#progress")).to_have_text("Done in 25 ms")
    expect(page.locator("#verdict .words")).to_have_text("Probably written by AI")
    expect(page.locator("#verdict .facts")).to_have_text("Confidence 86%4 of 5 models agree")
    expect(page.locator("#verdict .stripKey")).to_have_text("AI 93%Human 7%")
    assert page.evaluate(FILLED, "BERT") == "scaleX(0.97)"


def test_rows_keep_the_order_of_the_server_whoever_answers_first(visit):
    page = visit()
    page.fill("#text", LONG_TEXT)
    page.click("#analyze")
    expect(page.locator("#bars .name")).to_have_text(INFO["members"])


def test_every_row_stands_before_the_server_says_anything(visit, double):
    double.script = [HOLD]
    page = visit()
    page.fill("#text", LONG_TEXT)
    page.click("#analyze")
    expect(page.locator("#bars [data-state=waiting]")).to_have_count(5)
    expect(page.locator("#stop")).to_be_visible()
    expect(page.locator("#status")).to_have_text("Analyzing with 5 models.")


def test_the_text_is_sent_as_it_was_written(visit, double):
    page = visit()
    text = "  Two lines\n\twith “marks”, \U0001f469\u200d\U0001f680 and İ.  "
    page.fill("#text", text)
    page.click("#analyze")
    expect(page.locator("#verdict .words")).to_be_visible()
    assert [request["body"] for request in double.requests] == [{"text": text, "sentences": True}]


@pytest.mark.parametrize(
    ("confidence", "english", "turkish"),
    [
        (0.55, "Unclear, perhaps written by AI", "Belirsiz, belki yapay zekâ yazdı"),
        (0.6, "Perhaps written by AI", "Belki yapay zekâ yazdı"),
        (0.75, "Probably written by AI", "Muhtemelen yapay zekâ yazdı"),
        (0.9, "Very likely written by AI", "Büyük olasılıkla yapay zekâ yazdı"),
    ],
)
def test_confidence_is_said_in_words_and_as_a_number(visit, double, confidence, english, turkish):
    double.script = [START, ("ensemble", {**VERDICT, "confidence": confidence}), DONE]
    page = visit()
    page.fill("#text", LONG_TEXT)
    page.click("#analyze")
    expect(page.locator("#verdict .words")).to_have_text(english)
    expect(page.locator("#status")).to_have_text(f"{english}. Confidence {confidence:.0%}.")
    page.click("[data-language=tr]")
    expect(page.locator("#verdict .words")).to_have_text(turkish)
    expect(page.locator("#verdict strong")).to_have_text(f"%{confidence * 100:.0f}")


def test_a_member_that_is_down_is_named_with_its_reason(visit, double):
    down = ("member_down", {"name": "GBM", "reason": "starts again after a crash"})
    double.script = [START, down, *(("member", one) for one in MEMBERS if one["name"] != "GBM")]
    double.script += [("ensemble", {**VERDICT, "total_models": 4}), DONE]
    page = visit()
    page.fill("#text", LONG_TEXT)
    page.click("#analyze")
    expect(page.locator("#bars [data-name=GBM]")).to_have_text(
        "GBMnot availablestarts again after a crash"
    )
    expect(page.locator("#verdict .facts")).to_contain_text("4 of 4 models agree")
    expect(page.locator("#status")).to_have_text(
        "Probably written by AI. Confidence 86%. GBM is not available."
    )


def test_a_short_text_is_answered_with_a_warning(visit, double):
    double.script = [START, ("ensemble", {**VERDICT, "too_short": True, "cached": True}), DONE]
    page = visit()
    page.fill("#text", "Too few words.")
    expect(page.locator("#count")).to_have_text("3 words")
    expect(page.locator("#hint")).to_have_text(
        "47 more words would help: under 50, the answer is little more than a guess."
    )
    page.click("#analyze")
    expect(page.locator("#verdict .facts")).to_contain_text("Under 50 words: take this as a guess.")
    expect(page.locator("#verdict .facts")).to_contain_text("Remembered from before")


@pytest.mark.parametrize("text", ["", " \n\t "])
def test_no_text_is_not_sent(visit, double, text):
    page = visit()
    page.fill("#text", text)
    page.click("#analyze")
    expect(page.locator("#hint")).to_have_text("There is no text yet. Paste one, or try a sample.")
    expect(page.locator("#status")).to_contain_text("There is no text yet.")
    expect(page.locator("#text")).to_be_focused()
    assert double.requests == []


def test_a_text_over_the_limit_is_not_sent_and_counted_as_the_server_counts(visit, double):
    double.info["max_characters"] = 10
    page = visit()
    page.fill("#text", "\U0001f600" * 10)  # ten characters, twenty code units
    expect(page.locator("#count")).to_have_text("10 of 10 characters")
    expect(page.locator("#text")).to_have_attribute("aria-invalid", "false")
    page.fill("#text", "\U0001f600" * 11)
    expect(page.locator("#hint")).to_have_text("Too long by 1 character. Please shorten the text.")
    page.click("#analyze")
    expect(page.locator("#text")).to_have_attribute("aria-invalid", "true")
    assert double.requests == []


def test_a_new_request_cancels_the_one_that_runs(visit, double):
    first = {**VERDICT, "label": "Human", "prediction": 1}
    double.script = [START, ("ensemble", first), HOLD]
    page = visit()
    page.fill("#text", LONG_TEXT)
    page.click("#analyze")
    expect(page.locator("#verdict .words")).to_have_text("Probably written by a person")
    double.script = None
    page.click("#analyze")
    expect(page.locator("#verdict .words")).to_have_text("Probably written by AI")
    ends = {double.ends.get(timeout=30), double.ends.get(timeout=30)}
    assert ends == {"canceled", "finished"}
    expect(page.locator("#entries li")).to_have_count(1)


def test_stop_ends_the_request_and_keeps_what_arrived(visit, double):
    double.script = [START, ("member", MEMBERS[0]), HOLD]
    page = visit()
    page.fill("#text", LONG_TEXT)
    page.click("#analyze")
    expect(page.locator("#bars [data-name=DRF]")).to_contain_text("58%")
    page.click("#stop")
    assert double.ends.get(timeout=30) == "canceled"
    expect(page.locator("#progress")).to_have_text("Stopped")
    expect(page.locator("#bars [data-name=DRF]")).to_contain_text("58%")
    expect(page.locator("#bars [data-name=BERT]")).to_have_text("BERTno answer")
    expect(page.locator("#stop")).to_be_hidden()
    expect(page.locator("#analyze")).to_be_focused()


def test_offsets_in_code_units_hold_for_emoji_and_right_to_left_text(visit, double):
    sentences = [
        "\U0001f469\u200d\U0001f680 went up.",
        "שלום עולם.",
        "مرحبا \U0001f600 بالعالم!",
        "e\u0301 ends \U0001d49c.",
    ]
    text = " ".join(sentences)
    page = visit()
    page.fill("#text", text)
    page.click("#analyze")
    expect(page.locator("#marked span")).to_have_text(sentences)
    assert page.evaluate("document.querySelector('#marked').textContent") == text
    assert page.evaluate("text => text.length", text) == utf16_length(text)


def test_sentences_show_by_color_line_and_strength_which_way_they_lean(visit, double):
    page = visit()
    page.fill("#text", LONG_TEXT)
    page.click("#analyze")
    spans = page.locator("#marked span")
    expect(spans.nth(5)).to_be_visible()
    seen = [
        (span.get_attribute("data-color"), span.get_attribute("data-strength"))
        for span in spans.all()[:6]
    ]
    assert seen == [("0", "3"), ("0", "2"), ("0", "1"), ("none", "1"), ("1", "2"), ("1", "3")]
    line = "index => getComputedStyle(document.querySelectorAll('#marked span')[index])"
    assert page.evaluate(f"index => ({line})(index).textDecorationStyle", 0) == "solid"
    assert page.evaluate(f"index => ({line})(index).textDecorationStyle", 4) == "dotted"
    assert page.evaluate(f"index => ({line})(index).textDecorationLine", 3) == "none"
    expect(page.locator("#legend")).to_have_text("AIHumanundecidedthe stronger, the surer")


HOSTILE = '<img src=x onerror="document.title=1"><script>document.title=2</script>&amp;'


def test_markup_in_texts_names_and_reasons_is_shown_as_text(visit, double):
    member = {**MEMBERS[0], "name": HOSTILE, "label": HOSTILE}
    double.script = [
        ("start", {"members": [HOSTILE, "B"], "words": 1}),
        ("member", member),
        ("member_down", {"name": "B", "reason": HOSTILE}),
        ("ensemble", {**VERDICT, "label": HOSTILE}),
        score_sentences(HOSTILE),
        DONE,
    ]
    page = visit()
    page.fill("#text", HOSTILE)
    page.click("#analyze")
    expect(page.locator("#marked")).to_have_text(HOSTILE)
    expect(page.locator("#bars .name").first).to_have_text(HOSTILE)
    expect(page.locator("#bars .aside").last).to_have_text(HOSTILE)
    expect(page.locator("#verdict .words")).to_have_text(f"Probably {HOSTILE}")
    expect(page.locator("#entries .excerpt")).to_have_text(HOSTILE)
    assert page.locator("main img, main script").count() == 0
    assert page.title() == "Who wrote this? · Ivme"


def test_the_policy_forbids_markup_from_strings_and_scripts_in_the_page(visit):
    page = visit()
    refused = page.evaluate(
        """() => {
          const script = document.createElement("script");
          try { script.text = "document.title = 'run'"; } catch (error) { return error.name; }
        }"""
    )
    assert refused == "TypeError"
    assert len(visit.complaints) == 1
    assert "TrustedScript" in visit.complaints.pop()


@pytest.mark.parametrize("sample", range(4))
def test_each_sample_is_long_enough_and_is_analyzed_at_once(visit, double, sample):
    page = visit()
    page.locator("#samples button").nth(sample).click()
    expect(page.locator("#verdict .words")).to_be_visible()
    expect(page.locator("#hint")).to_have_text("")
    assert len(double.requests[0]["body"]["text"].split()) >= INFO["least_words"]


def test_samples_in_the_language_of_the_page_come_first(visit):
    page = visit(language="tr")
    languages = [button.get_attribute("lang") for button in page.locator("#samples button").all()]
    assert languages == ["tr", "tr", "en", "en"]


def test_a_single_classifier_shows_a_bar_for_each_label(visit, double):
    double.info = {
        **INFO,
        "kind": "classifier",
        "labels": [{"label": "0", "name": "negative"}, {"label": "1", "name": "positive"}],
        "members": ["model"],
        "least_words": 0,
    }
    double.classification = {
        "label": "positive",
        "prediction": 1,
        "confidence": 0.92,
        "probabilities": {"negative": 0.08, "positive": 0.92},
    }
    page = visit()
    expect(page.locator("h1")).to_have_text("What does the model say?")
    page.fill("#text", "Fine.")
    page.click("#analyze")
    expect(page.locator("#verdict")).to_have_text("Very likely positiveConfidence 92%")
    expect(page.locator("#bars li")).to_have_text(["negative8%", "positive92%"])
    expect(page.locator("#caution")).to_contain_text("not proof")
    expect(page.locator("#sentences")).to_be_hidden()
    assert double.requests[0]["body"] == {"text": "Fine."}


def test_a_model_that_is_no_classifier_points_to_the_routes(visit, double):
    double.info = {**INFO, "kind": "embedding", "labels": [], "members": ["model"]}
    page = visit(is_ready="#routes")
    expect(page.locator("h1")).to_have_text("This model is for programs")
    expect(page.locator(".lead")).to_contain_text("“embedding”")
    expect(page.locator("#desk")).to_be_hidden()


def test_a_key_is_asked_for_sent_and_kept_in_this_tab(visit, double):
    double.info["auth_required"] = True
    page = visit()
    page.get_by_label("API key").fill("secret-key")
    page.fill("#text", LONG_TEXT)
    page.click("#analyze")
    expect(page.locator("#verdict .words")).to_be_visible()
    assert double.requests[0]["headers"]["authorization"] == "Bearer secret-key"
    page.reload()
    expect(page.get_by_label("API key")).to_have_value("secret-key")
    assert page.evaluate("JSON.stringify(localStorage)").count("secret-key") == 0


@pytest.mark.parametrize(
    ("is_calibrated", "english", "turkish"),
    [
        (True, "Calibrated probability", "Kalibre edilmiş olasılık"),
        (False, "Mean probability of the models", "Modellerin ortalama olasılığı"),
    ],
)
def test_a_mean_is_not_called_calibrated(visit, double, is_calibrated, english, turkish):
    double.script = [START, ("ensemble", {**VERDICT, "calibrated": is_calibrated}), DONE]
    for language, words in (("en", english), ("tr", turkish)):
        page = visit(language=language)
        page.fill("#text", LONG_TEXT)
        page.click("#analyze")
        expect(page.locator("#verdict .stripTitle")).to_have_text(words)


def test_words_are_counted_as_the_server_counts_them(visit):
    texts = [
        "",
        "Two words, - and 3.14 signs & emoji \U0001f389; don't split well-known ones.",
        "Çay içtik, İstanbul'da; cafe\u0301 naïve",
        "日本語のテキストと中文文本 with English",
        "ภาษาไทยไม่มีช่องว่าง",
        "한국어는 띄어쓰기가 있다",
        "हिन्दी में शब्द होते हैं",
        "العَرَبِيَّة والنص",
        "\u200b\n\t _under_ ½ ①",
    ]
    count = """async texts => {
        const { countWords } = await import(new URL("page/words.js", location));
        return texts.map(countWords);
    }"""
    counted = visit().evaluate(count, texts)
    assert counted == [count_words(text) for text in texts]
    assert len(set(counted)) > 5
