import numpy as np
import pytest
from planted_groups import Opener, out_of_memory_over
from styles import styled_texts

from ivme.ensemble.fallback import CarefulGroup
from ivme.errors import IvmeError, OutOfMemoryError

TEXTS = styled_texts(40, ("human", "machine"), seed=3)[0]


def careful(opener: Opener, *, allow_shorter: bool = False, device: str = "cpu") -> CarefulGroup:
    return CarefulGroup("BERT", opener, allow_shorter=allow_shorter, threads=1, device=device)


def test_a_batch_that_does_not_fit_runs_in_smaller_ones_with_the_same_answers(small_ensemble):
    opener = Opener(small_ensemble, {"BERT": out_of_memory_over(5)})
    expected = opener.folder.open_group("BERT").score_batch(TEXTS)
    found, notes = careful(opener).score(TEXTS)

    np.testing.assert_allclose(found["BERT"], expected["BERT"], atol=1e-6)
    assert opener.given["BERT"].sizes == [4] * 10
    assert notes == ("BERT ran out of memory on 40 texts: they ran 4 at a time",)


def test_where_one_text_does_not_fit_texts_are_cut_if_that_is_allowed(small_ensemble):
    opener = Opener(small_ensemble, {"BERT": out_of_memory_over(0)})
    group = careful(opener, allow_shorter=True)
    with pytest.raises(OutOfMemoryError, match="1 texts do not fit"):
        group.score(TEXTS[:3])

    assert [asked.get("max_length") for asked in opener.asked] == [None, 256]
    assert group.taken == ("BERT ran out of memory: texts are cut to 256 tokens",)


def test_a_cut_that_helps_is_noted_with_every_answer(small_ensemble):
    opener = Opener(small_ensemble, {})

    def open_group(name, **arguments):
        if "max_length" not in arguments:
            opener.checks = {"BERT": out_of_memory_over(0)}
        else:
            opener.checks = {}
        return opener(name, **arguments)

    group = CarefulGroup("BERT", open_group, allow_shorter=True, threads=1, device="cpu")
    for _ in range(2):
        _, notes = group.score(TEXTS[:1])
        assert notes == ()  # it holds of all further answers, and is no note on this call
        assert group.taken == ("BERT ran out of memory: texts are cut to 256 tokens",)
    assert len(opener.asked) == 2


def test_the_last_step_from_a_gpu_is_the_processor(small_ensemble):
    opener = Opener(small_ensemble, {"BERT": out_of_memory_over(0)})
    group = careful(opener, allow_shorter=True, device="cuda")
    with pytest.raises(OutOfMemoryError):
        group.score(TEXTS[:1])

    steps = [(asked.get("max_length"), asked["device"]) for asked in opener.asked]
    assert steps == [(None, "cuda"), (256, "cuda"), (256, "cpu")]


def test_weights_that_do_not_fit_the_gpu_are_opened_on_the_processor(small_ensemble):
    opener = Opener(small_ensemble, {})

    def open_group(name, **arguments):
        if arguments["device"] != "cpu":
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return opener(name, **arguments)

    group = CarefulGroup("BERT", open_group, allow_shorter=True, threads=1, device="cuda")
    group.score(TEXTS[:1])
    assert group.taken == ("BERT ran out of memory on its device: it runs on the processor",)


def test_steps_that_change_nothing_are_left_out(small_ensemble):
    """The plan cuts texts to 64 tokens, and runs on the processor whatever was asked for."""
    opener = Opener(small_ensemble, {})
    real = opener.folder.open_group("BERT")
    assert (real.device, real.max_length) == ("cpu", 64)

    def fail(texts):
        raise OutOfMemoryError("planted")

    real.score_batch = fail
    asked = []

    def open_group(name, **arguments):
        asked.append(arguments)
        return real

    group = CarefulGroup("BERT", open_group, allow_shorter=True, threads=1, device="auto")
    with pytest.raises(OutOfMemoryError, match="planted"):
        group.score(TEXTS[:1])
    assert len(asked) == 1
    assert group.taken == ()


def test_other_failures_are_passed_on_at_once(small_ensemble):
    def check(texts):
        raise IvmeError("worn out")

    opener = Opener(small_ensemble, {"BERT": check})
    with pytest.raises(IvmeError, match="worn out"):
        careful(opener, allow_shorter=True).score(TEXTS)
    assert len(opener.asked) == 1
