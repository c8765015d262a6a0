import json
import stat
import subprocess
import sys

import numpy as np
import pytest

from ivme.errors import RecordError
from ivme.measure import records
from ivme.measure.records import (
    Comparison,
    Measurement,
    Record,
    library_versions,
    load_record,
    new_record,
    record_to_json,
    save_record,
)


@pytest.fixture
def record() -> Record:
    measurement = Measurement(
        label="eager b8",
        configuration={"engine": "transformers", "batch_size": 8},
        samples_s={"latency": (0.1, 0.2, 1 / 3)},
        items_per_call=8,
        facts={"architecture": "BERT"},
    )
    comparison = Comparison(
        baseline="pipeline",
        variant="eager b8",
        ratio=0.5,
        interval=(0.48, 0.53),
        verdict="faster",
        equivalence_margin=0.02,
        blocks=({"order": ["pipeline", "eager b8"], "seconds": {"pipeline": [0.2]}},),
        control_interval=(0.99, 1.01),
        control_is_clean=True,
        notes=("Türkçe",),
    )
    return new_record(
        "bench",
        ["ivme", "bench", "preset:bert-tiny"],
        {"cores": 2},
        {"batch_size": [1, 8]},
        measurements=[measurement],
        comparisons=[comparison],
    )


def test_a_saved_record_loads_as_the_same_record(record, tmp_path):
    path = tmp_path / "results" / "bench.json"
    save_record(record, path)
    assert load_record(path) == record


def test_a_record_names_the_moment_and_the_installed_versions(record):
    assert record.created_at.endswith("+00:00")
    assert {"python", "ivme", "torch", "numpy"} <= set(record.versions)


def test_the_versions_are_read_without_importing_the_libraries():
    code = (
        "import sys; from ivme.measure.records import library_versions; library_versions(); "
        "print(sorted({'torch', 'numpy', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert "torch" in library_versions()


def test_saving_replaces_the_old_file_and_leaves_no_draft(record, tmp_path):
    path = tmp_path / "bench.json"
    path.write_text("old")
    save_record(record, path)
    assert load_record(path) == record
    assert [one.name for one in tmp_path.iterdir()] == ["bench.json"]


def test_a_saved_record_can_be_read_by_whom_the_umask_allows(record, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("")
    save_record(record, tmp_path / "bench.json")
    mode = stat.S_IMODE((tmp_path / "bench.json").stat().st_mode)
    assert mode == stat.S_IMODE(plain.stat().st_mode)


def test_a_record_that_cannot_be_written_leaves_the_old_file(record, tmp_path):
    (tmp_path / "file").write_text("old")
    with pytest.raises(RecordError, match=r"cannot write .*; name a file that you may write"):
        save_record(record, tmp_path / "file" / "bench.json")
    assert (tmp_path / "file").read_text() == "old"


def test_numbers_that_are_not_finite_become_null():
    record = new_record("doctor", [], {"rate": float("nan"), "top": float("inf")}, {})
    assert json.loads(record_to_json(record))["machine"] == {"rate": None, "top": None}


def test_an_argument_that_is_not_utf_8_survives(tmp_path):
    record = new_record("bench", ["ivme", "model-\udcff"], {}, {})
    save_record(record, tmp_path / "bench.json")
    assert load_record(tmp_path / "bench.json") == record


def test_paths_sets_and_numpy_values_are_written_as_plain_json(tmp_path):
    settings = {
        "model": tmp_path,
        "lengths": np.array([32, 128]),
        "rate": np.float64(0.5),
        "count": np.int64(3),
        "features": {"avx2", "amx"},
    }
    written = json.loads(record_to_json(new_record("bench", [], {}, settings)))["settings"]
    assert written == {
        "model": str(tmp_path),
        "lengths": [32, 128],
        "rate": 0.5,
        "count": 3,
        "features": ["amx", "avx2"],
    }


def test_a_value_that_json_cannot_say_is_named():
    with pytest.raises(TypeError, match=r"cannot hold <object object at .* of type object"):
        record_to_json(new_record("bench", [], {"bad": object()}, {}))


def test_unknown_fields_of_the_same_schema_are_left_out(record, tmp_path):
    content = json.loads(record_to_json(record))
    content["later"] = 1
    del content["checksum"]
    content["checksum"] = records._checksum(content)
    path = tmp_path / "bench.json"
    path.write_text(json.dumps(content))
    assert load_record(path) == record


def test_a_changed_record_is_refused(record, tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(record_to_json(record).replace("0.48", "0.41"))
    with pytest.raises(RecordError, match=r"is damaged: .* restore the file .* or measure again"):
        load_record(path)


def test_a_newer_schema_is_refused(record, tmp_path):
    path = tmp_path / "bench.json"
    path.write_text(record_to_json(record).replace('"schema_version": 1', '"schema_version": 2'))
    expected = r"was written by schema 2; this ivme reads up to 1: upgrade ivme"
    with pytest.raises(RecordError, match=expected):
        load_record(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not json", "is not JSON; give a file that `ivme bench --output`"),
        (b"\xff\xfe\x00", "is not JSON"),
        (b"[" * 200_000, "is not JSON"),
        (b'{"schema": NaN}', "is not JSON"),
        (b'{"loss": 1.0}', "is JSON but no record of ivme"),
        (b"[1, 2]", "is JSON but no record of ivme"),
        (b'{"schema": "ivme.record", "schema_version": 1}', "is damaged"),
    ],
)
def test_a_file_that_is_no_record_is_refused(content, message, tmp_path):
    path = tmp_path / "file.json"
    path.write_bytes(content)
    with pytest.raises(RecordError, match=message):
        load_record(path)


def test_a_record_without_its_required_fields_is_refused(tmp_path):
    content = {"schema": "ivme.record", "schema_version": 1}
    path = tmp_path / "file.json"
    path.write_text(json.dumps({**content, "checksum": records._checksum(content)}))
    with pytest.raises(RecordError, match="lacks what a record of schema 1 must have"):
        load_record(path)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(RecordError, match=r"cannot read .*none.json: No such file"):
        load_record(tmp_path / "none.json")
