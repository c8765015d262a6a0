import json
import shutil

import pytest

from ivme.ensemble.ensemble_folder import EnsembleFolder
from ivme.errors import DeviceError, UsageError


@pytest.fixture
def copy(small_ensemble, tmp_path):
    return shutil.copytree(small_ensemble, tmp_path / "model")


def test_a_folder_says_what_its_members_are(small_ensemble):
    found = EnsembleFolder.read(small_ensemble)
    assert found.member_names == ("BERT", "DRF", "GBM", "GLM")
    assert found.group_names == ("BERT", "tabular")
    assert found.labels == ("human", "machine")
    assert found.label_names == {"human": "Human", "machine": "machine"}
    assert found.least_words == 5
    assert found.evaluation is None
    assert len(found.content_hash) == 64


def test_groups_open_and_score_in_the_same_order_of_labels(small_ensemble):
    found = EnsembleFolder.read(small_ensemble)
    lines: list[str] = []
    for name in found.group_names:
        group = found.open_group(name, threads=1, progress=lines.append)
        assert group.labels == found.labels
        assert all(table.shape == (1, 2) for table in group.score_batch(["well"]).values())
        group.close()
    assert lines == ["Loading BERT...", "Loading DRF, GBM, GLM..."]


def test_an_unknown_group_and_a_missing_device_are_refused(small_ensemble):
    found = EnsembleFolder.read(small_ensemble)
    with pytest.raises(UsageError, match=r"group 'XGB'; the ensemble .* has BERT, tabular"):
        found.open_group("XGB")
    with pytest.raises(DeviceError, match="cuda:99"):
        found.open_group("BERT", device="cuda:99")


@pytest.mark.parametrize(
    "name", ["tabular/GBM.safetensors", "BERT/artefact/model.safetensors", "ensemble.json"]
)
def test_a_changed_file_is_refused_by_name(copy, name):
    content = bytearray((copy / name).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / name).write_bytes(content)
    with pytest.raises(UsageError, match=f"{name} is not the file that the manifest was written"):
        EnsembleFolder.read(copy)


def test_without_verifying_a_corrupt_member_is_found_when_it_is_opened(copy):
    path = copy / "BERT" / "artefact" / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    found = EnsembleFolder.read(copy, verify=False)
    found.open_group("tabular").close()
    with pytest.raises(UsageError, match=r"model\.safetensors is not the file"):
        found.open_group("BERT")


def test_a_missing_file_and_one_of_another_size_are_refused_even_without_verifying(copy):
    path = copy / "tabular" / "DRF.safetensors"
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(UsageError, match=r"DRF\.safetensors has \d+ bytes, not \d+"):
        EnsembleFolder.read(copy, verify=False)
    path.unlink()
    with pytest.raises(UsageError, match=r"DRF\.safetensors is missing"):
        EnsembleFolder.read(copy, verify=False)


@pytest.mark.parametrize("name", ["BERT/tokenizer/extra.pkl", "weights/pytorch_model.bin"])
def test_a_pickle_in_any_subfolder_is_refused_by_name(copy, name):
    (copy / name).write_bytes(b"\x80\x04.")
    with pytest.raises(UsageError, match=f"{name} may be a pickle"):
        EnsembleFolder.read(copy, verify=False)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "ivme.tabular"}, "is no manifest of format 'ivme.ensemble'"),
        ({"version": 2}, "is of version 2; this ivme reads 1"),
        ({"files": {"../x.json": {"size_bytes": 1, "sha256": "0"}}}, "outside of the folder"),
        ({"files": {"x.json": "0"}}, "has no size and SHA-256 for 'x.json'"),
        ({"files": {}}, "names no files"),
        ({"content_hash": "0"}, "its content_hash is not of its files"),
    ],
)
def test_a_foreign_manifest_is_refused(copy, change, message):
    path = copy / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UsageError, match=message):
        EnsembleFolder.read(copy)


def test_what_is_no_folder_or_no_ensemble_is_refused(tmp_path, trained_folder):
    with pytest.raises(UsageError, match="is no folder; give the one that `ivme ensemble train`"):
        EnsembleFolder.read(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"cannot read .*manifest\.json: No such file"):
        EnsembleFolder.read(tmp_path)
    with pytest.raises(UsageError, match=r"is no manifest of format 'ivme\.ensemble'"):
        EnsembleFolder.read(trained_folder)


def test_reports_are_bound_and_leave_the_content_hash(copy):
    before = EnsembleFolder.read(copy)
    after = before.write_reports(evaluation={"auroc": 0.9}, card="# A card\n")
    assert after.content_hash == before.content_hash
    assert after.evaluation == {"auroc": 0.9}
    assert {"MODEL_CARD.md", "evaluation.json"} <= set(after.files)
    (copy / "MODEL_CARD.md").write_text("# A cart\n")
    with pytest.raises(UsageError, match=r"MODEL_CARD\.md is not the file"):
        EnsembleFolder.read(copy)


def test_reports_do_not_launder_a_changed_member(copy):
    found = EnsembleFolder.read(copy)
    path = copy / "tabular" / "GLM.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UsageError, match=r"GLM\.safetensors is not the file"):
        found.write_reports(card="# A card\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": ["human"]}, "names 1 labels"),
        ({"labels": "human"}, "is no list of texts"),
        ({"groups": []}, "0 members"),
        ({"least_words": "many"}, "does not describe an ensemble"),
        ({"stacking": {"members": []}}, "its stacking is damaged"),
    ],
)
def test_a_description_that_does_not_fit_is_refused(copy, change, message):
    from ivme.ensemble.ensemble_json import read_ensemble_json

    path = copy / "ensemble.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(UsageError, match=message):
        read_ensemble_json(path)


def test_reports_bind_no_file_that_others_put_into_the_folder(copy):
    before = EnsembleFolder.read(copy)
    (copy / "eval.json").write_text("{}")
    after = before.write_reports(card="a card")
    assert after.content_hash == before.content_hash
    assert set(after.files) == {*before.files, "MODEL_CARD.md"}
    (copy / "eval.json").write_text('{"changed": true}')
    EnsembleFolder.read(copy).open_group("tabular").close()
