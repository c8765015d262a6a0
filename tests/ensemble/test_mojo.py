import contextlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ivme.ensemble.features import NgramBlock, NgramSettings, TfidfFeatures
from ivme.ensemble.mojo import read_mojo
from ivme.ensemble.rows import rows_from_dense
from ivme.ensemble.style import StyleBlock, style_names
from ivme.ensemble.tabular import TabularMembers
from ivme.errors import UsageError

FIXTURES = Path(__file__).parent / "fixtures" / "mojo"  # written by H2O 3.46.0.6
EXPECTED = json.loads((FIXTURES / "expected.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", EXPECTED["models"])
def test_a_mojo_answers_as_h2o_did(name):
    recorded = EXPECTED["models"][name]
    mojo = read_mojo(FIXTURES / f"{name}.zip")
    rows = rows_from_dense(np.array(recorded["rows"], np.float64))  # None becomes NaN
    probabilities = mojo.member.probabilities(rows)
    assert np.abs(probabilities - recorded["probabilities"]).max() <= 1e-6
    assert [mojo.labels[one] for one in mojo.member.decide(probabilities)] == recorded["labels"]
    assert mojo.columns == tuple(EXPECTED["columns"])


def features_of(ngrams: tuple[str, ...]) -> TfidfFeatures:
    block = NgramBlock(settings=NgramSettings(), ngrams=ngrams, idf=np.ones(len(ngrams)))
    return TfidfFeatures((block,))


def test_a_mojo_is_bound_to_features_with_its_columns():
    features = features_of(tuple(EXPECTED["columns"]))
    member = read_mojo(FIXTURES / "drf_2.zip").bound_to(features)
    assert member.features_hash == features.content_hash


def test_a_mojo_of_plain_ngrams_is_bound_to_features_with_style():
    plain = features_of(tuple(EXPECTED["columns"]))
    count = len(style_names())
    style = StyleBlock(
        names=style_names(), means=np.zeros(count), deviations=np.ones(count), weight=0.1
    )
    features = TfidfFeatures(plain.blocks, style)
    mojo = read_mojo(FIXTURES / "drf_2.zip")
    member = mojo.bound_to(features)
    TabularMembers(features=features, labels=mojo.labels, members={"DRF": member})
    text = " ".join(EXPECTED["columns"][:5])
    found = member.probabilities(features.transform(text))
    assert np.array_equal(found, mojo.member.probabilities(plain.transform(text)))


def test_features_in_another_order_are_refused():
    features = features_of(tuple(reversed(EXPECTED["columns"])))
    with pytest.raises(UsageError, match="the MOJO reads 8 columns"):
        read_mojo(FIXTURES / "drf_2.zip").bound_to(features)


def changed_mojo(folder: Path, name: str, **changes: bytes | None) -> Path:
    """Return a copy in which files (dots and slashes as _) are replaced or left out."""
    path = folder / "changed.zip"
    with zipfile.ZipFile(FIXTURES / name) as source, zipfile.ZipFile(path, "w") as target:
        for entry in source.namelist():
            key = entry.replace("/", "_").replace(".", "_")
            content = changes.get(key, source.read(entry))
            if content is not None:
                target.writestr(entry, content)
    return path


def changed_ini(name: str, old: str, new: str) -> bytes:
    with zipfile.ZipFile(FIXTURES / name) as source:
        text = source.read("model.ini").decode()
    assert old in text
    return text.replace(old, new).encode()


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("drf_2.zip", "algo = drf", "algo = deeplearning", "it holds 'deeplearning'"),
        ("drf_2.zip", "category = Binomial", "category = Regression", "category 'Regression'"),
        ("drf_2.zip", "balance_classes = false", "balance_classes = true", "balance_classes"),
        ("drf_2.zip", "double_trees = false", "double_trees = true", "binomial_double_trees"),
        ("drf_2.zip", "mojo_version = 1.40", "mojo_version = 1.10", "MOJO version 1.10"),
        ("drf_2.zip", "= LITTLE_ENDIAN", "= BIG_ENDIAN", "its endianness is 'BIG_ENDIAN'"),
        ("drf_2.zip", "n_trees = 5", "n_trees = 6", "t00_005"),
        ("drf_2.zip", "n_trees = 5", "n_trees = many", "many"),
        ("drf_2.zip", "n_features = 8", "n_features = 2", "a column holds categories"),
        ("drf_2.zip", "8: 2 d000.txt", "3: 2 d000.txt\n8: 2 d000.txt", "a column holds categories"),
        ("drf_2.zip", "algo = drf\n", "", "it lacks 'algo'"),
        ("gbm_2.zip", "= bernoulli", "= gaussian", "its distribution is 'gaussian'"),
        ("glm_2.zip", "family = binomial", "family = poisson", "its family is 'poisson'"),
        ("glm_2.zip", "beta = [", "beta = [1.0, ", "coefficients of shape"),
        ("glm_2.zip", "mean_imputation = true", "mean_imputation = false", "mean_imputation"),
    ],
)
def test_what_cannot_be_scored_alike_is_refused(tmp_path, name, old, new, message):
    path = changed_mojo(tmp_path, name, model_ini=changed_ini(name, old, new))
    with pytest.raises(UsageError, match=message) as raised:
        read_mojo(path)
    assert str(path) in str(raised.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00\x00",
        b"\x00\x00\x00\x02\x00\x00",
        b"\x08\x00\x00\x02\x00\x00\x00\x00\x00",  # a split by categories
        b"\x20\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00",  # of no kind known
        b"\x00\x00\x00\x02\x00\x00\x00\x00\x00" * 50,  # left branches of no length
        b"\x30\xff\x00\x02" + bytes(9),  # column 255 of 8
    ],
    ids=["empty", "cut", "cut later", "categories", "kind", "overlap", "column"],
)
def test_a_damaged_tree_is_refused(tmp_path, content):
    path = changed_mojo(tmp_path, "drf_2.zip", trees_t00_001_bin=content)
    with pytest.raises(UsageError, match=r"changed\.zip is refused"):
        read_mojo(path)


def test_bytes_changed_at_random_never_crash(tmp_path):
    draw = np.random.RandomState(0)
    with zipfile.ZipFile(FIXTURES / "drf_2.zip") as source:
        sound = source.read("trees/t00_001.bin")
    for _ in range(150):
        content = bytearray(sound)
        for at in draw.randint(0, len(content), 3):
            content[at] = draw.randint(256)
        path = changed_mojo(tmp_path, "drf_2.zip", trees_t00_001_bin=bytes(content))
        with contextlib.suppress(UsageError):
            member = read_mojo(path).member
            assert np.isfinite(member.probabilities(rows_from_dense(np.ones((1, 8))))).all()


def test_a_zip_changed_at_random_never_crashes(tmp_path):
    draw = np.random.RandomState(1)
    sound = (FIXTURES / "gbm_3.zip").read_bytes()
    path = tmp_path / "changed.zip"
    for _ in range(150):
        content = bytearray(sound)
        for at in draw.randint(0, len(content), 5):
            content[at] = draw.randint(256)
        path.write_bytes(content)
        refusal = ""
        try:
            read_mojo(path)
        except UsageError as error:
            refusal = str(error)
        assert not refusal or "changed.zip" in refusal


def test_what_is_no_zip_is_refused(tmp_path):
    path = tmp_path / "model.zip"
    path.write_bytes(b"\x80\x04N.")
    with pytest.raises(UsageError, match=r"model\.zip is no MOJO"):
        read_mojo(path)
    with pytest.raises(UsageError, match="cannot read"):
        read_mojo(tmp_path / "nothing.zip")


def test_a_zip_that_unpacks_to_too_much_is_refused_unread(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("model.ini", b"[info]")
        archive.writestr("trees/t00_000.bin", bytes(2**20))
    # The size that a bomb would state, in the directory at the end of the file.
    content = packed.getvalue().replace(
        (2**20).to_bytes(4, "little"), (2**31).to_bytes(4, "little")
    )
    (tmp_path / "bomb.zip").write_bytes(content)
    with pytest.raises(UsageError, match="it unpacks to 2147483654 bytes in 2 files"):
        read_mojo(tmp_path / "bomb.zip")
