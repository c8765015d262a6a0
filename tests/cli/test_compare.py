from ivme.measure.records import load_record

MODELS = ("preset:bert-tiny", "preset:gpt2-tiny")
QUICK = (
    *("--limit", 2, "--max-length", 16, "--new-tokens", 2, "--threads", 1),
    *("--budget", 1e-3, "--compare-budget", 0.05),
)


def test_architectures_are_shown_side_by_side_in_80_columns(ivme, tmp_path):
    output = tmp_path / "compare.json"
    outcome = ivme("compare", *MODELS, *QUICK, "-o", output)
    assert (outcome.status, outcome.stderr) == (0, "")
    tables = outcome.stdout.partition("\nrecord: ")[0]  # a path is as long as it is
    assert max(map(len, tables.splitlines())) <= 80
    for word in ("encoder-only", "decoder-only", "write 2", "verdict: "):
        assert word in outcome.stdout
    heading = next(line for line in outcome.stdout.splitlines() if "Work" in line)
    assert "Kind" not in heading  # it follows from the model
    works = [one.configuration["work"] for one in load_record(output).measurements]
    assert works == ["read", "read", "write 2"]


def test_json_is_the_record_alone(ivme, tmp_path):
    outcome = ivme("compare", *MODELS, *QUICK, "--json")
    assert (outcome.status, outcome.stderr) == (0, "")
    (tmp_path / "compare.json").write_text(outcome.stdout)
    assert load_record(tmp_path / "compare.json").kind == "compare"


def test_one_model_alone_is_wrong_use(ivme):
    outcome = ivme("compare", "preset:bert-tiny")
    assert outcome.status == 2
    assert outcome.stderr == (
        "ivme: models preset:bert-tiny; expected two different ones or more\n"
    )
