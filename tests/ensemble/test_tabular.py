import hashlib
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from styles import styled_texts

from ivme.ensemble.folder import MANIFEST
from ivme.ensemble.member_files import member_from_bytes, member_to_bytes
from ivme.ensemble.tabular import TabularMembers
from ivme.errors import UsageError

HOSTILE = {
    "empty": "",
    "one word": "moreover",
    "binary": bytes(range(256)).decode("latin-1") * 3,
    "lone surrogates": "\ud800\udfff the end \udc00",
    "control characters": "the\x00end\x07\x1b[31m\u202e of it",
    "emoji": "😀👩‍👩‍👧‍👦 delve 🇹🇷",
    "Turkish": "Iğdır'da İLKBAHAR çok güzel",  # noqa: RUF001 (a letter of Turkish)
    "Chinese": "今天天气很好。我们去公园",
    "no blanks": "a" * 100_000,
}


@pytest.fixture(scope="module")
def tabular(trained_folder) -> TabularMembers:
    return TabularMembers.load(trained_folder)


@pytest.fixture
def copied(trained_folder, tmp_path) -> Path:
    return Path(shutil.copytree(trained_folder, tmp_path / "model"))


def replace_file(folder: Path, name: str, content: bytes) -> None:
    """Put other content in a file, and its hash in the manifest, as a stranger could."""
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["files"][name] = hashlib.sha256(content).hexdigest()
    (folder / MANIFEST).write_text(json.dumps(manifest))


def test_each_member_gives_each_label_a_probability(tabular):
    scores = tabular.score("moreover this is crucial to ensure the robust landscape")
    assert list(scores) == ["DRF", "GBM", "GLM"]
    for probabilities in scores.values():
        assert probabilities.shape == (2,)
        assert probabilities.sum() == pytest.approx(1.0, abs=1e-12)
        assert tabular.labels[int(probabilities.argmax())] == "machine"


def test_members_learned_the_styles(tabular):
    texts, labels = styled_texts(200, ("human", "machine"), seed=2)
    for name, probabilities in tabular.score_batch(texts).items():
        chosen = [tabular.labels[one] for one in tabular.members[name].decide(probabilities)]
        right = np.mean([one == label for one, label in zip(chosen, labels, strict=True)])
        assert right > 0.8  # one label in ten is wrong in half of the cases


def test_a_text_scores_as_it_does_in_a_batch_on_any_number_of_threads(tabular):
    texts, _ = styled_texts(150, ("human", "machine"), seed=3)
    batch = tabular.score_batch(texts, threads=2)
    for name, probabilities in tabular.score(texts[70]).items():
        assert np.allclose(batch[name][70], probabilities, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", HOSTILE)
def test_any_text_gets_an_answer(tabular, kind):
    for probabilities in tabular.score(HOSTILE[kind]).values():
        assert np.isfinite(probabilities).all()


def test_ten_megabytes_get_an_answer(tabular):
    assert list(tabular.score("moreover the crucial end. " * 400_000)) == ["DRF", "GBM", "GLM"]


@pytest.mark.parametrize("thing", [None, b"bytes", 7, ["list"]])
def test_what_is_no_text_is_refused(tabular, thing):
    with pytest.raises(UsageError, match="where a text was expected"):
        tabular.score(thing)
    with pytest.raises(UsageError, match="where a text was expected"):
        tabular.score_batch([thing])


def test_one_text_is_not_taken_for_a_batch_of_letters(tabular):
    with pytest.raises(UsageError, match="give a list, or call score"):
        tabular.score_batch("text")


def test_thresholds_decide_the_label(tabular):
    found = tabular.decide({name: np.array([0.5, 0.5]) for name in tabular.members})
    for name, threshold in tabular.thresholds.items():
        assert found[name] == int(threshold <= 0.5)


def test_saving_again_changes_nothing(tabular, tmp_path):
    again = TabularMembers.load(tabular.save(tmp_path / "again"))
    assert again.content_hash == tabular.content_hash
    text = "kinda robust, well"
    for name, probabilities in tabular.score(text).items():
        assert np.array_equal(again.score(text)[name], probabilities)


def test_the_content_hash_follows_labels_and_thresholds(tabular):
    glm = replace(tabular.members["GLM"], threshold=0.123)
    others = [
        replace(tabular, labels=("machine", "human")),
        replace(tabular, members={**tabular.members, "GLM": glm}),
    ]
    assert len({tabular.content_hash, *(one.content_hash for one in others)}) == 3


def test_members_of_other_features_are_refused(tabular):
    stranger = replace(tabular.members["GBM"], features_hash="0" * 64)
    with pytest.raises(UsageError, match="member GBM was trained on other features"):
        replace(tabular, members={"GBM": stranger})


def test_members_of_another_number_of_features_are_refused(tabular):
    glm = tabular.members["GLM"]
    short = replace(
        glm,
        model=replace(
            glm.model, coefficients=glm.model.coefficients[:, :-1], fill=glm.model.fill[:-1]
        ),
    )
    with pytest.raises(UsageError, match="member GLM reads"):
        replace(tabular, members={"GLM": short})


def test_threads_that_score_at_once_get_the_same_answers(tabular):
    texts, _ = styled_texts(40, ("human", "machine"), seed=5)
    alone = [tabular.score(text)["DRF"] for text in texts]
    fresh = replace(tabular)  # nothing of it is cached yet
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: fresh.score(text)["DRF"], texts))
    assert np.array_equal(alone, together)


def test_members_of_other_labels_are_refused(tabular):
    with pytest.raises(UsageError, match="member DRF knows 2 labels, the folder 3"):
        replace(tabular, labels=("a", "b", "c"))


def test_a_damaged_member_is_refused_by_name(copied):
    content = bytearray((copied / "GBM.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (copied / "GBM.safetensors").write_bytes(content)
    with pytest.raises(UsageError, match=r"GBM\.safetensors is not the file that the manifest"):
        TabularMembers.load(copied)


@pytest.mark.parametrize("content", [b"", b"\x80\x04N.", b"\xff" * 64, bytes(8) + b"{}"])
def test_what_is_no_member_is_refused_by_name(copied, content):
    replace_file(copied, "DRF.safetensors", content)
    with pytest.raises(UsageError, match=r"DRF\.safetensors is refused"):
        TabularMembers.load(copied)


def test_a_member_from_another_program_is_refused_by_name(copied):
    from safetensors.numpy import save

    replace_file(copied, "GLM.safetensors", save({"weight": np.zeros(3)}))
    with pytest.raises(UsageError, match=r"GLM\.safetensors is refused: it is of format None"):
        TabularMembers.load(copied)


def test_a_tree_that_points_out_of_its_forest_is_refused(tabular):
    drf = tabular.members["DRF"]
    nodes = drf.model.nodes.copy()
    nodes["left"][0] = len(nodes) + 5
    crafted = replace(drf, model=replace(drf.model, nodes=nodes))
    with pytest.raises(UsageError, match="node 0 points outside of the forest"):
        member_from_bytes(member_to_bytes(crafted), "DRF.safetensors")


def test_arrays_of_another_type_are_refused(tabular):
    glm = tabular.members["GLM"]
    crafted = replace(glm, initial=glm.initial.astype(np.float32))
    with pytest.raises(UsageError, match="arrays missing, unknown or of another type: initial"):
        member_from_bytes(member_to_bytes(crafted), "GLM.safetensors")


def test_features_of_another_training_are_refused(copied):
    features = json.loads((copied / "features.json").read_text())
    features["blocks"][0]["idf"][0] += 1.0
    replace_file(copied, "features.json", json.dumps(features).encode())
    with pytest.raises(UsageError, match="was trained on other features"):
        TabularMembers.load(copied)


def test_a_fresh_process_scores_without_torch_scikit_learn_or_h2o(trained_folder):
    program = (
        "import sys; from ivme.ensemble.tabular import TabularMembers;"
        "print(sorted(TabularMembers.load(sys.argv[1]).score('the end')));"
        "print(sorted({'torch', 'sklearn', 'scipy', 'h2o', 'transformers'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", program, str(trained_folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    assert result.stdout.splitlines() == ["['DRF', 'GBM', 'GLM']", "[]"]
