import numpy as np
import pytest
from planted import LABELS, answer_to

from ivme.engines.protocol import Prediction
from ivme.errors import UsageError
from ivme.tune.quality import Gate, least_texts

TEXTS = [f"text {number}" for number in range(1000)]
REFERENCE = [answer_to(text) for text in TEXTS]
TRUTH = [one.label for one in REFERENCE]


def gate(**changes) -> Gate:
    settings = {"kind": "classifier", "reference": REFERENCE, "budget": 0.005}
    return Gate(**{**settings, **changes})


def other(prediction: Prediction) -> Prediction:
    label = LABELS[1 - LABELS.index(prediction.label or "")]
    return Prediction(label=label, probabilities=np.array([0.5, 0.5], dtype=np.float32))


def with_flips(count: int) -> list[Prediction]:
    return [other(one) if at < count else one for at, one in enumerate(REFERENCE)]


def test_the_same_answers_on_a_thousand_texts_pass():
    quality = gate().judge(REFERENCE)
    assert quality.is_accepted
    assert (quality.metric, quality.loss, quality.value) == ("agreement", 0.0, 1.0)
    assert quality.loss_bound == pytest.approx(0.003, abs=1e-4)
    assert quality.details["max_probability_change"] == 0
    assert quality.details["mean_kl"] == 0


def test_the_bound_decides_and_not_the_loss_itself():
    quality = gate().judge(with_flips(3))
    assert quality.loss == 0.003 < quality.budget < quality.loss_bound
    assert not quality.is_accepted
    assert quality.texts_needed is not None
    assert quality.texts_needed > 1000
    assert quality.details["differing_texts"] == 3
    assert quality.details["max_probability_change"] == pytest.approx(0.3, abs=1e-6)


def test_with_labels_texts_that_are_won_make_up_for_those_that_are_lost():
    truth = [*map(other, REFERENCE[:5]), *REFERENCE[5:]]
    labels = [one.label or "" for one in truth]
    variant = [*truth[:5], *map(other, REFERENCE[5:10]), *REFERENCE[10:]]
    quality = gate(labels=labels).judge(variant)
    assert quality.metric == "accuracy"
    assert quality.reference == quality.value == 0.995
    assert quality.loss == 0
    assert (quality.details["lost_texts"], quality.details["won_texts"]) == (5, 5)
    assert quality.details["agreement"] == 0.99
    assert 0.005 < quality.loss_bound < 0.006


@pytest.mark.parametrize(("flips", "is_accepted"), [(0, True), (20, False)])
def test_f1_is_bounded_by_a_bootstrap(flips, is_accepted):
    quality = gate(labels=TRUTH, metric="f1", budget=0.01).judge(with_flips(flips))
    assert quality.metric == "macro F1"
    assert quality.reference == 1.0
    assert quality.loss == pytest.approx(flips / 1000, abs=1e-3)
    assert quality.loss_bound > quality.loss
    assert quality.is_accepted is is_accepted


def test_embeddings_are_judged_by_how_they_rank_their_neighbors():
    source = np.random.default_rng(0)
    vectors = source.normal(size=(200, 32)).astype(np.float32)
    reference = [Prediction(vector=one) for one in vectors]
    near = [Prediction(vector=one + 1e-3 * source.normal(size=32)) for one in vectors]
    far = [Prediction(vector=one + 0.3 * source.normal(size=32)) for one in vectors]
    judge = gate(kind="embedding", reference=reference)
    assert judge.judge(near).is_accepted
    assert judge.judge(near).details["least_cosine"] > 0.999
    quality = judge.judge(far)
    assert quality.metric == "rank agreement"
    assert not quality.is_accepted
    assert quality.details["mean_cosine"] > 0.9  # which alone would look harmless


def test_embeddings_of_a_few_texts_prove_nothing():
    vectors = np.eye(12, dtype=np.float32) + 0.1
    vectors[:, 0] += np.arange(12)
    reference = [Prediction(vector=one) for one in vectors]
    quality = gate(kind="embedding", reference=reference).judge(reference)
    assert quality.loss == pytest.approx(0)
    assert not quality.is_accepted
    assert quality.texts_needed == least_texts("embedding", 0.005, has_labels=False) == 30


def yes_or_no(*probabilities: float) -> Prediction:
    values = np.array(probabilities, dtype=np.float32)
    return Prediction(label=f"LABEL_{values.argmax()}", probabilities=values)


def test_of_independent_labels_each_counts_and_not_the_largest_alone():
    reference = [yes_or_no(0.9, 0.4)] * 1000
    judge = gate(reference=reference, has_independent_labels=True)
    assert judge.judge([yes_or_no(0.8, 0.45)] * 1000).is_accepted
    quality = judge.judge([yes_or_no(0.9, 0.6)] * 20 + reference[20:])
    assert quality.details["differing_texts"] == 20
    assert not quality.is_accepted


def test_a_single_score_is_judged_by_the_order_of_the_texts():
    scores = np.random.default_rng(0).uniform(0.6, 0.9, 200)
    reference = [yes_or_no(one) for one in scores]
    judge = gate(reference=reference, has_independent_labels=True)
    assert judge.judge([yes_or_no(one / 2) for one in scores]).is_accepted
    rounded = [yes_or_no(one + 0.02 * (at % 2)) for at, one in enumerate(scores)]
    quality = judge.judge(rounded)
    assert quality.metric == "rank agreement"
    assert 0.01 < quality.loss < 0.1
    assert not quality.is_accepted


def test_labels_are_refused_where_the_model_answers_yes_or_no_for_each():
    with pytest.raises(UsageError, match="answers yes or no for each label; leave the labels out"):
        gate(labels=TRUTH, has_independent_labels=True)


def test_generated_texts_must_be_exactly_alike():
    reference = [Prediction(text=text) for text in TEXTS]
    variant = [Prediction(text=text + "!" if at < 10 else text) for at, text in enumerate(TEXTS)]
    quality = gate(kind="causal", reference=reference).judge(variant)
    assert (quality.metric, quality.value) == ("exact match", 0.99)
    assert not quality.is_accepted


def test_causal_models_are_judged_by_their_perplexity():
    source = np.random.default_rng(0)
    likely = source.normal(-3.0, 0.5, size=1000)

    def answers(rise):
        return [Prediction(text="x", log_likelihood=float(one)) for one in likely - rise]

    reference = answers(0.0)
    judge = gate(kind="causal", reference=reference)
    quality = judge.judge(answers(source.normal(0.01, 0.05, size=1000)))
    assert quality.metric == "perplexity"
    assert quality.reference == pytest.approx(np.exp(-likely.mean()))
    assert quality.value / quality.reference - 1 == pytest.approx(quality.loss)
    assert quality.loss < quality.loss_bound < quality.loss + 0.005
    assert not quality.is_accepted
    assert judge.judge(answers(source.normal(0.0, 0.01, size=1000))).is_accepted
    assert quality.details["exact_match"] == 1.0


def test_what_is_hopeless_is_seen_before_all_texts_are_answered():
    bad = [other(one) if at % 10 == 0 else one for at, one in enumerate(REFERENCE)]
    assert gate().is_hopeless(bad[:64])
    assert not gate().is_hopeless(REFERENCE[:64])
    assert not gate(is_judged=False).is_hopeless(bad[:64])


def test_a_variant_as_bad_as_the_budget_is_accepted_in_one_of_twenty_at_most():
    source = np.random.default_rng(3)
    accepted = 0
    for _ in range(400):
        flipped = source.random(1000) < 0.005
        answers = [
            other(one) if flip else one for one, flip in zip(REFERENCE, flipped, strict=True)
        ]
        differing = int(flipped.sum())
        accepted += differing <= 1 and gate().judge(answers).is_accepted
    assert accepted / 400 <= 0.05 + 2 * np.sqrt(0.05 * 0.95 / 400)


def test_the_fewest_texts_that_can_pass():
    assert least_texts("classifier", 0.005, has_labels=False) == 598
    assert least_texts("classifier", 0.005, has_labels=True) == 539
    assert least_texts("classifier", 0.0, has_labels=False) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"budget": 1.5}, "a quality loss of 1.5; expected 0 to 1, or 0% to 100%"),
        ({"metric": "bleu"}, "metric='bleu'; expected one of accuracy, f1"),
        ({"metric": "f1"}, "metric='f1' needs labels; name the column that has them"),
        ({"kind": "causal", "labels": TRUTH}, "the model is no classifier but of kind 'causal'"),
    ],
)
def test_what_cannot_be_judged_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        gate(**changes)
