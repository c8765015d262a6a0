import json

import pytest
from sample_records import bench_record, versus_record

from ivme.errors import UsageError
from ivme.measure.records import load_record, save_record
from ivme.report.writing import write_report


def test_html_is_one_file(tmp_path):
    output = tmp_path / "new" / "report.HTML"
    assert write_report([versus_record()], output) == (output,)
    assert list(output.parent.iterdir()) == [output]


def test_markdown_has_its_charts_beside_it(tmp_path):
    output = tmp_path / "speed.md"
    written = write_report([versus_record()], output)
    assert written[-1] == output
    assert {path.parent.name for path in written[:-1]} == {"speed_files"}
    assert all(path.is_file() for path in written)


def test_json_holds_the_records_as_they_are(tmp_path):
    saved = tmp_path / "one.json"
    save_record(bench_record(), saved)
    output = tmp_path / "all.json"
    write_report([load_record(saved), versus_record()], output)
    records = json.loads(output.read_text())["records"]
    assert records[0] == json.loads(saved.read_text())
    assert len(records) == 2


def test_a_record_reads_the_same_after_a_round_trip(tmp_path):
    save_record(bench_record(), tmp_path / "one.json")
    write_report([bench_record()], tmp_path / "a.html")
    write_report([load_record(tmp_path / "one.json")], tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_another_suffix_names_those_allowed(tmp_path):
    with pytest.raises(UsageError, match=r"report\.pdf.*expected one of \.html, \.md, \.json"):
        write_report([versus_record()], tmp_path / "report.pdf")


def test_no_records_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no records given"):
        write_report([], tmp_path / "report.html")


def test_a_place_that_cannot_be_written_says_why(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write .*file/report\.html"):
        write_report([versus_record()], tmp_path / "file" / "report.html")
