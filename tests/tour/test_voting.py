import pytest
from servers import serving

from ivme.ensemble.train import MEMBERS
from ivme.errors import UsageError
from ivme.tour.voting import ask, check_ensemble

pytestmark = pytest.mark.slow


def test_five_members_are_judged_and_called_a_demo(taken):
    assert taken.voting.ensemble.member_names == MEMBERS
    names = taken.voting.ensemble.label_names
    assert dict(names) == {"0": "AI (demo)", "1": "Human (demo)"}
    assert "no detector for any other text" in taken.voting.record.notes[0]
    card = (taken.folder / "model" / "MODEL_CARD.md").read_text()
    assert "no detector for any other text" in card
    assert "No proof of authorship" in card


def test_it_is_asked_a_text_of_each_origin(taken):
    asked = ask(taken.folder, taken.writing.texts)
    assert [one.truth for one in asked] == ["AI (demo)", "Human (demo)"]
    for one in asked:
        assert tuple(one.answer["individual_results"]) == MEMBERS
        assert one.answer["ensemble"]["total_models"] == 5


def test_a_folder_of_something_else_is_not_replaced(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("precious")
    with pytest.raises(UsageError, match="holds something else"):
        check_ensemble(tmp_path)


def test_what_the_tour_leaves_is_served_at_once(taken):
    with serving(taken.folder / "model") as server:
        text = taken.writing.texts.valid.texts[0]
        answer = server.client.post("/predict", json={"text": text}).raise_for_status().json()
    assert answer["ensemble"]["label"] in ("AI (demo)", "Human (demo)")
    assert set(answer["individual_results"]) == set(MEMBERS)
