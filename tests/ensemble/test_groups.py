import numpy as np
import pytest
from small_ensembles import random_classifier, write_random_plan

from ivme.ensemble.groups import TabularGroup, TransformerMember, readable_text
from ivme.errors import UsageError

TEXTS = ["", "one", "well honestly " * 300, "çok 中文 🎉", "a \ud800 lone surrogate", "\x00\x07"]


@pytest.fixture(scope="module")
def plan(tmp_path_factory):
    folder = tmp_path_factory.mktemp("plan")
    return write_random_plan(folder / "plan", random_classifier(folder / "weights"))


def test_the_tabular_group_scores_and_decides_as_its_members(trained_folder):
    group = TabularGroup.load(trained_folder, threads=2)
    probabilities = group.score_batch(TEXTS)
    assert group.names == ("DRF", "GBM", "GLM")
    expected = group.members.score(TEXTS[2])
    for name in group.names:
        assert probabilities[name].shape == (len(TEXTS), 2)
        # sums of scores are rounded by the number of rows, in the last bit
        assert np.allclose(probabilities[name][2], expected[name], rtol=0, atol=1e-12)
    decided = group.decide(probabilities)
    assert {name: one[2] for name, one in decided.items()} == group.members.decide(expected)


def test_any_text_has_probabilities_and_a_batch_equals_one_at_a_time(plan):
    member = TransformerMember.load("BERT", plan, ("human", "machine"), threads=1)
    together = member.score_batch(TEXTS)["BERT"]
    alone = np.concatenate([member.score_batch([text])["BERT"] for text in TEXTS])
    assert together.shape == (len(TEXTS), 2)
    assert np.allclose(together.sum(axis=1), 1.0, atol=1e-15)
    # float32 arithmetic on padded rows
    assert np.allclose(together, alone, atol=1e-5)
    assert member.score_batch([])["BERT"].shape == (0, 2)
    member.close()
    member.close()


def test_probabilities_follow_the_order_of_the_ensembles_labels(plan):
    with_order = [("human", "machine"), ("machine", "human")]
    tables = []
    for labels in with_order:
        member = TransformerMember.load("BERT", plan, labels, threads=1)
        tables.append(member.score_batch(TEXTS)["BERT"])
        member.close()
    assert np.array_equal(tables[0], tables[1][:, ::-1])


def test_a_member_of_other_labels_is_refused_by_name(plan):
    with pytest.raises(UsageError, match="member BERT knows the labels human, machine, the ensem"):
        TransformerMember.load("BERT", plan, ("0", "1"))


def test_a_threshold_moves_the_decision_of_a_transformer(plan):
    member = TransformerMember.load("BERT", plan, ("human", "machine"), threshold=0.8)
    table = np.array([[0.3, 0.7], [0.2, 0.8]])
    assert member.decide({"BERT": table})["BERT"].tolist() == [0, 1]
    member.threshold = None
    assert member.decide({"BERT": table})["BERT"].tolist() == [1, 1]
    member.close()


def test_threads_and_length_are_taken_in_place_of_the_plans(plan):
    member = TransformerMember.load("BERT", plan, ("human", "machine"), threads=2, max_length=8)
    assert member.predictor.plan.variant.threads == 2
    assert member.predictor.count_tokens(TEXTS[2:3]) == [8]
    member.close()
    with pytest.raises(UsageError, match="threads=0; expected 1 or more"):
        TransformerMember.load("BERT", plan, ("human", "machine"), threads=0)


def test_what_is_no_list_of_texts_is_refused(plan, trained_folder):
    member = TransformerMember.load("BERT", plan, ("human", "machine"))
    for group in (member, TabularGroup.load(trained_folder)):
        with pytest.raises(UsageError, match="one text where several were expected"):
            group.score_batch("one")
        with pytest.raises(UsageError, match="a bytes where a text was expected"):
            group.score_batch([b"bytes"])
        group.close()


def test_surrogates_become_replacement_characters_and_pairs_become_one():
    assert readable_text("a\ud800b", 10) == "a\ufffdb"
    assert readable_text("\ud83d\ude00", 10) == "😀"
    assert readable_text("abcdef", 3) == "abc"
    assert readable_text("“c\u0430t”\n\n  sat", 20) == '"cat" sat'
