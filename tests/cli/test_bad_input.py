"""Wrong use: one line on stderr that says what to do, exit status 2, nothing on stdout."""

import json
import shutil

import pytest

from ivme.models.sources import model_folder

TINY = "preset:bert-tiny"
VISION_CONFIG = {
    "model_type": "vit",
    "architectures": ["ViTForImageClassification"],
    "image_size": 224,
}


@pytest.fixture
def bad(tmp_path, monkeypatch):
    """Return a folder of bad input, which is also where commands run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "no-config").mkdir()
    shutil.copytree(model_folder(TINY), tmp_path / "vision")
    (tmp_path / "vision" / "config.json").write_text(json.dumps(VISION_CONFIG))
    shutil.copytree(model_folder(TINY), tmp_path / "corrupt")
    weights = tmp_path / "corrupt" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    (tmp_path / "empty.txt").write_text(" \n\n")
    (tmp_path / "binary.txt").write_bytes(b"\x7fELF\x00\x01\x02")
    (tmp_path / "reviews.csv").write_text("id,review\n1,good\n")
    newer = {"schema": "ivme.record", "schema_version": 99}
    (tmp_path / "newer.json").write_text(json.dumps(newer))
    (tmp_path / "other.json").write_text('{"a": 1}')
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "step.py").write_text("def make_step(): ...")
    return tmp_path


CASES = {  # arguments -> what the message must hold
    "bench ./nothing-here": ("'./nothing-here'", "without a network give a model folder or one of"),
    "bench preset:nonsense": ("no preset 'nonsense'", "bert-tiny"),
    "bench no-config": ("'no-config' has no config.json", "save_pretrained()"),
    "bench vision": ("images", "give a text model"),
    "bench corrupt": ("safetensors file is damaged", "copy or download it again"),
    f"bench {TINY} --texts empty.txt": ("empty.txt is empty",),
    f"bench {TINY} --texts binary.txt": ("binary.txt is not text",),
    f"bench {TINY} --texts nothing.txt": ("nothing.txt: no such file",),
    f"bench {TINY} --texts reviews.csv": ("no column 'text'", "'id', 'review'"),
    f"bench {TINY} --column review": ("--column and --limit belong to --texts",),
    f"bench {TINY} --device cuda:99": ("device='cuda:99'", "cpu"),
    f"bench {TINY} --engine nonsense": ("engine='nonsense'", "pipeline, prepacked"),
    f"bench {TINY} --versus transformers": ("compares transformers with itself",),
    f"bench {TINY} --dtype float32,float8": ("dtype='float8'", "float32, bfloat16, float16"),
    f"bench {TINY} --batch-size 1,x": ("--batch-size 1,x", "as in 1,8,32"),
    f"bench {TINY} --batch-size 0": ("batch_sizes=0; expected 1 or more",),
    f"bench {TINY} --tokens ,": ("names nothing",),
    f"bench {TINY} --budget nan": ("budget_s=nan", "expected more than 0"),
    f"bench {TINY} --compare-budget 0": ("compare_budget_s=0.0", "expected more than 0"),
    f"tune {TINY} --budget nan": ("a budget of nan s", "expected more than 0"),
    "diagnose mm-rec-2m --budget nan": ("budget_s=nan", "expected more than 0"),
    f"bench {TINY} --order random": ("order='random'", "given, sorted"),
    f"bench {TINY} --output file/bench.json": ("cannot write file/bench.json", "name another"),
    f"bench {TINY} --output no-config": ("cannot write no-config: it is a folder",),
    f"compare {TINY} preset:nonsense": ("no preset 'nonsense'",),
    f"compare {TINY} preset:gpt2-tiny -o file/x.json": ("cannot write file/x.json",),
    "doctor --quick -o file/x.json": ("cannot write file/x.json",),
    "serve nothing-here": ("nothing-here is no folder", "`ivme tune -o` or `ivme ensemble train"),
    f"tune {TINY} -o plan --output plan/plan.json": ("is in the folder of the plan, plan",),
    "demo -o file": ("cannot write file/report.html", "name another"),
    "report newer.json": ("newer.json was written by schema 99", "upgrade ivme"),
    "report other.json": ("other.json is JSON but no record of ivme",),
    "report empty.txt": ("empty.txt is not JSON",),
    "report nothing.json": ("cannot read nothing.json",),
    "report other.json -o page.docx": (".docx", ".html, .md, .json"),
}


CASES |= {  # what is read is never written over
    line: ("it is a file that is read, which writing would destroy", "name another")
    for line in (
        f"bench {TINY} --texts reviews.csv -o reviews.csv",
        f"compare {TINY} preset:gpt2-tiny --texts reviews.csv -o ./reviews.csv",
        f"tune {TINY} --texts reviews.csv --output reviews.csv",
        "diagnose step.py -o step.py",
        "diagnose mm-rec-2m --texts reviews.csv -o reviews.csv",
        "loadtest http://127.0.0.1:9 --rate 1 --texts reviews.csv -o reviews.csv",
        "ensemble evaluate no-config --data reviews.csv -o reviews.csv",
        "report other.json newer.json -o newer.json",
    )
}


@pytest.mark.parametrize("line", CASES)
def test_wrong_use_gets_one_line_that_says_what_to_do(ivme, bad, line):
    before = sorted(bad.rglob("*"))
    outcome = ivme(*line.split())
    assert outcome.status == 2
    assert outcome.stdout == ""
    assert outcome.stderr.startswith("ivme: ")
    assert outcome.stderr.count("\n") == 1
    assert outcome.stderr.endswith("\n")
    for part in CASES[line]:
        assert part in outcome.stderr
    assert sorted(bad.rglob("*")) == before


def test_an_unwritable_output_is_refused_before_anything_is_loaded(ivme, bad, monkeypatch):
    from ivme.bench import sweep

    monkeypatch.setattr(sweep, "run_bench", lambda *_, **__: pytest.fail("it was measured"))
    assert ivme("bench", TINY, "--output", "file/bench.json").status == 2
