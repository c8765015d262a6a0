import asyncio
import json
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_groups import Opener, broken, out_of_memory_over
from styles import styled_texts

from ivme.ensemble import Predictor
from ivme.ensemble.ensemble_folder import EnsembleFolder
from ivme.errors import DeviceError, IvmeError, UsageError

NAMES = ["BERT", "DRF", "GBM", "GLM"]
TEXT = "moreover the crucial landscape of the tapestry is robust"
MIXED = styled_texts(12, ("human", "machine"), seed=5)[0]


@pytest.fixture(scope="module")
def predictor(small_ensemble):
    with Predictor.load(small_ensemble, threads=2) as loaded:
        yield loaded


@pytest.fixture
def fresh(small_ensemble):
    with Predictor.load(small_ensemble, threads=2) as loaded:
        yield loaded


def test_the_answer_has_exactly_the_documented_parts(predictor):
    answer = predictor.predict_all(TEXT)

    assert list(answer) == ["individual_results", "ensemble"]
    assert list(answer["individual_results"]) == NAMES
    for result in answer["individual_results"].values():
        assert list(result) == ["prediction", "confidence", "label"]
        assert 0 <= result["confidence"] <= 1
    ensemble = answer["ensemble"]
    assert sorted(ensemble) == ["confidence", "label", "prediction", "total_models", "vote_count"]
    votes = [one["prediction"] for one in answer["individual_results"].values()]
    assert ensemble["vote_count"] == votes.count(ensemble["prediction"])
    assert ensemble["total_models"] == 4
    assert ensemble["confidence"] == ensemble["vote_count"] / 4
    assert ensemble == predictor.predict(TEXT)
    assert json.loads(json.dumps(answer)) == answer


def test_members_answer_as_they_do_alone(predictor, small_ensemble):
    folder = EnsembleFolder.read(small_ensemble)
    answer = predictor.predict_all(TEXT, details=True)
    for group_name in folder.group_names:
        group = folder.open_group(group_name)
        scores = group.score_batch([TEXT])
        for name, numbers in group.decide(scores).items():
            found = answer["individual_results"][name]
            assert found["prediction"] == folder.labels[numbers[0]]
            assert found["label"] == {"human": "Human"}.get(found["prediction"], "machine")
            assert found["confidence"] == pytest.approx(scores[name][0, numbers[0]], abs=1e-6)
        group.close()


def test_details_tell_probability_times_and_what_is_to_be_known(fresh):
    details = fresh.predict_all(TEXT, details=True)["details"]

    assert sum(details["probability"].values()) == pytest.approx(1)
    assert set(details["timings_ms"]) == {*NAMES, "features", "total"}
    assert details["timings_ms"]["total"] >= max(
        time for name, time in details["timings_ms"].items() if name != "total"
    )
    assert (details["too_short"], details["least_words"], details["cached"]) == (False, 5, False)
    assert details["members_down"] == {}
    assert details["notes"] == [
        "the probability is the mean of the members: no calibration was trained"
    ]
    again = fresh.predict_all(TEXT, details=True)["details"]
    assert again["cached"] is True
    assert list(again["timings_ms"]) == ["total"]
    assert again["probability"] == details["probability"]


def test_a_text_of_too_few_words_is_answered_and_called_too_short(predictor):
    assert predictor.predict_all("only four words here", details=True)["details"]["too_short"]
    assert not predictor.predict_all("now there are five words", details=True)["details"][
        "too_short"
    ]
    assert predictor.predict_all("你好世界", details=True)["details"]["too_short"]
    assert not predictor.predict_all("你好世界" * 3, details=True)["details"]["too_short"]


def test_a_batch_equals_one_at_a_time_in_order_and_runs_equal_texts_once(fresh, predictor):
    texts = [*MIXED, MIXED[0], "", TEXT * 20]
    expected = [predictor.predict_all(text) for text in texts]
    found = fresh.predict_batch(texts)

    for one, other in zip(found, expected, strict=True):
        assert one["ensemble"]["prediction"] == other["ensemble"]["prediction"]
        for name in NAMES:
            assert one["individual_results"][name]["confidence"] == pytest.approx(
                other["individual_results"][name]["confidence"], abs=1e-5
            )
    assert fresh.cache_stats.misses == len(texts) - 1
    assert fresh.predict_batch([]) == []
    assert all(one["details"]["cached"] for one in fresh.predict_batch(MIXED, details=True))


def test_what_a_caller_changes_in_an_answer_nobody_else_sees(predictor):
    first = predictor.predict_all(TEXT, details=True)
    kept = json.loads(json.dumps(predictor.predict_all(TEXT)))
    first["individual_results"].clear()
    first["ensemble"]["label"] = "changed"
    first["details"]["notes"].append("changed")

    assert predictor.predict_all(TEXT) == kept


def test_a_stream_gives_each_member_as_it_answers_and_then_the_ensemble(fresh):
    streamed = list(fresh.predict_stream(TEXT))
    answer = fresh.predict_all(TEXT)

    assert streamed[-1] == ("ensemble", answer["ensemble"])
    assert dict(streamed[:-1]) == answer["individual_results"]
    assert fresh.cache_stats.hits == 1
    assert list(fresh.predict_stream(TEXT)) == [
        *answer["individual_results"].items(),
        ("ensemble", answer["ensemble"]),
    ]


def test_loading_opens_no_member_and_the_first_use_opens_each_once(small_ensemble):
    opener = Opener(small_ensemble, {})
    with Predictor.load(small_ensemble, open_group=opener, threads=2) as predictor:
        assert (opener.asked, predictor.notes) == ([], ())
        with ThreadPoolExecutor(8) as executor:
            answers = list(executor.map(predictor.predict_all, [TEXT] * 8))
        predictor.initialize()

    assert sorted(asked["group"] for asked in opener.asked) == ["BERT", "tabular"]
    assert all(answer == answers[0] for answer in answers)


def test_progress_is_told_line_by_line_when_it_is_asked_for(small_ensemble, capfd):
    lines: list[str] = []
    with Predictor.load(small_ensemble, progress=lines.append) as predictor:
        predictor.predict_all(TEXT)
    assert sorted(lines[:2]) == ["Loading BERT...", "Loading DRF, GBM, GLM..."]
    assert lines[2:] == [f"Running {name}..." for name in NAMES]

    with Predictor.load(small_ensemble) as predictor:
        predictor.predict_all(TEXT)
    assert capfd.readouterr() == ("", "")


def test_a_member_that_fails_drops_out_and_is_named(small_ensemble):
    opener = Opener(small_ensemble, {"BERT": broken})
    with Predictor.load(small_ensemble, open_group=opener) as predictor:
        answer = predictor.predict_all(TEXT, details=True)
        streamed = dict(predictor.predict_stream(TEXT))

        assert list(answer["individual_results"]) == NAMES[1:]
        assert answer["ensemble"]["total_models"] == 3
        assert answer["details"]["members_down"] == {"BERT": "its weights are worn out"}
        assert predictor.members_down == {"BERT": "its weights are worn out"}
        assert list(streamed) == [*NAMES[1:], "ensemble"]
        assert predictor.cache_stats.size == 0  # the failure may pass by

        opener.given["BERT"].check = lambda texts: None
        assert predictor.predict(TEXT)["total_models"] == 4
        assert predictor.members_down == {}
        assert predictor.cache_stats.size == 1


def test_a_member_that_cannot_be_opened_drops_out_and_the_others_are_cached(small_ensemble):
    opener = Opener(small_ensemble, {})
    lines: list[str] = []

    def open_group(name, **arguments):
        if name == "BERT":
            raise RuntimeError("no such library\nat all")
        return opener(name, **arguments)

    with Predictor.load(small_ensemble, open_group=open_group, progress=lines.append) as predictor:
        assert predictor.predict(TEXT)["total_models"] == 3
        assert predictor.members_down == {"BERT": "RuntimeError: no such library"}
        assert predictor.predict_all(TEXT, details=True)["details"]["cached"]
    assert "BERT is left out: RuntimeError: no such library" in lines


def test_if_no_member_answers_the_error_names_each(small_ensemble):
    opener = Opener(small_ensemble, {"BERT": broken, "tabular": broken})
    with (
        Predictor.load(small_ensemble, open_group=opener) as predictor,
        pytest.raises(IvmeError, match=r"no member of the ensemble answered\. .*BERT: its weights"),
    ):
        predictor.predict(TEXT)

    def refuse(name, **arguments):
        raise RuntimeError("gone")

    with (
        Predictor.load(small_ensemble, open_group=refuse) as predictor,
        pytest.raises(IvmeError, match="BERT: RuntimeError: gone; DRF: RuntimeError: gone"),
    ):
        predictor.initialize()


def test_a_batch_that_does_not_fit_is_answered_in_parts_and_says_so(small_ensemble):
    opener = Opener(small_ensemble, {"BERT": out_of_memory_over(3)})
    with Predictor.load(small_ensemble, open_group=opener) as predictor:
        answers = predictor.predict_batch(MIXED, details=True)
    note = "BERT ran out of memory on 12 texts: they ran 3 at a time"
    assert all(note in answer["details"]["notes"] for answer in answers)
    assert all(answer["ensemble"]["total_models"] == 4 for answer in answers)


def test_a_kept_answer_keeps_no_note_on_the_call_that_made_it(small_ensemble):
    opener = Opener(small_ensemble, {"BERT": out_of_memory_over(3)})
    with Predictor.load(small_ensemble, open_group=opener) as predictor:
        first = predictor.predict_batch(MIXED, details=True)[0]["details"]
        again = predictor.predict_all(MIXED[0], details=True)["details"]
    mean = "the probability is the mean of the members: no calibration was trained"
    assert first["notes"] == [
        mean,
        "BERT ran out of memory on 12 texts: they ran 3 at a time",
        "times are shares of a batch of 12 texts",
    ]
    assert again["cached"]
    assert again["notes"] == [mean]


@pytest.mark.parametrize("name", ["BERT/artefact/model.safetensors", "tabular/DRF.safetensors"])
def test_a_corrupt_member_is_refused_by_name_and_every_time(small_ensemble, tmp_path, name):
    folder = shutil.copytree(small_ensemble, tmp_path / "model")
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    with Predictor.load(folder) as predictor:
        for _ in range(2):
            with pytest.raises(UsageError, match=f"{name} is not the file"):
                predictor.predict(TEXT)


def test_a_device_that_is_not_there_and_wrong_settings_are_refused(small_ensemble):
    with Predictor.load(small_ensemble, device="cuda:7") as predictor, pytest.raises(DeviceError):
        predictor.initialize()
    for wrong, message in (
        ({"voting": "dice"}, "voting='dice'"),
        ({"voting": "stacking"}, "trained without"),
        ({"threads": 0}, "threads=0"),
        ({"cache_size": -1}, "cache_size=-1"),
    ):
        with pytest.raises(UsageError, match=message):
            Predictor.load(small_ensemble, **wrong)


def test_a_closed_predictor_says_so(small_ensemble):
    predictor = Predictor.load(small_ensemble)
    predictor.close()
    predictor.close()
    for call in (predictor.initialize, lambda: predictor.predict(TEXT)):
        with pytest.raises(UsageError, match="closed before this call"):
            call()
    with pytest.raises(UsageError, match="closed before this call"):
        asyncio.run(predictor.apredict_all(TEXT))


def test_awaited_calls_answer_alike_and_leave_the_event_loop_free(small_ensemble):
    gate = threading.Event()
    opener = Opener(small_ensemble, {"BERT": lambda texts: gate.wait(60)})

    async def ask(predictor):
        calls = [asyncio.create_task(predictor.apredict_all(text)) for text in MIXED]
        await asyncio.sleep(0)
        assert not any(call.done() for call in calls)
        gate.set()  # reached only because no call holds the loop
        return await asyncio.gather(*calls), await predictor.apredict_batch(MIXED)

    with Predictor.load(small_ensemble, open_group=opener) as predictor:
        one_by_one, together = asyncio.run(ask(predictor))
    assert one_by_one == together


@pytest.mark.parametrize("wrong", [None, 3, b"bytes", ["a list"]])
def test_what_is_no_text_is_refused(predictor, wrong):
    with pytest.raises(UsageError, match="where a text was expected"):
        predictor.predict_all(wrong)
    with pytest.raises(UsageError, match="where a text was expected"):
        predictor.predict_batch(["fine", wrong])
    with pytest.raises(UsageError, match="one text where several were expected"):
        predictor.predict_batch("one text")


@pytest.mark.parametrize(
    "text",
    [
        "",
        " \t\r\n",
        "word",
        "\x00\x01\x1b[0m",
        "\ud800",
        "a\udfffb",
        "🎉🏽",
        "İstanbul",
        "你好",
        "\u202e\u200b\ufeff",
    ],
)
def test_any_odd_text_gets_an_answer_of_all_members(predictor, text):
    answer = predictor.predict_all(text, details=True)
    assert answer["ensemble"]["total_models"] == 4
    assert answer["details"]["members_down"] == {}


def test_lone_surrogates_read_as_replacement_characters_by_every_member(predictor):
    assert predictor.predict_all("so \ud800 it is") == predictor.predict_all("so \ufffd it is")
    assert predictor.predict_all("so \ud83c\udf89 it") == predictor.predict_all("so 🎉 it")


def test_ten_megabytes_get_an_answer(predictor):
    text = "the crucial tapestry of it " * 400_000
    assert predictor.predict(text)["total_models"] == 4


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(codec=None), max_size=200))
def test_whatever_the_text_all_members_answer_with_probabilities(predictor, text):
    answer = predictor.predict_all(text, details=True)
    assert answer["ensemble"]["total_models"] == 4
    assert np.isfinite(list(answer["details"]["probability"].values())).all()
    json.dumps(answer, allow_nan=False)


def test_importing_the_package_loads_no_library(small_ensemble):
    code = (
        "import sys; from ivme.ensemble import Predictor;"
        f"Predictor.load({str(small_ensemble)!r}, threads=2);"
        "heavy = {'torch', 'transformers', 'openvino', 'onnxruntime', 'sklearn'};"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
