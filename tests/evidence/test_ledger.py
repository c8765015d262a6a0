import re
import shlex

import pytest

from ivme.errors import UsageError
from ivme.evidence.ledger import read_ledger
from ivme.evidence.running import checkout_folder, find_fault

# What must be measured, each by the ids of the claims that say it.
WANTED = {
    "torch.compile": ["compile"],
    "C++ extension": ["extension", "extension-cumprod"],
    "QKVZ fusion and HEM": ["qkvz-fusion", "hem-latency", "hem-throughput", "hem-memory"],
    "vectorized operations": ["vectorized"],
    "speed in total": ["total-speed"],
    "chunking": ["chunking"],
    "checkpointing": ["checkpointing"],
    "mixed precision": ["mixed-precision-memory"],
    "quantization-aware training": ["quantization-size", "quantization-training"],
    "memory in total": ["total-memory"],
    "adaptive learning rate": ["adaptive-rate"],
    "UBOO": ["uboo-steps", "uboo-perplexity", "uboo-variance", "uboo-memory"],
    "batch size": ["batch-8", "batch-2-cost", "batch-8-to-16-best"],
    "batch size with workers": ["batch-8-workers", "batch-16-workers"],
    "workers": ["workers", "workers-not-critical"],
    "data loading": ["data-item-seconds", "data-not-blocking"],
    "backward over forward": ["backward-over-forward"],
    "threads": ["threads"],
    "memory of the parameters": ["parameters", "memory-fp32", "memory-fp16"],
    "the step": ["step-seconds"],
    "times of encoders": [
        "distilbert-cpu-seconds", "distilbert-gpu-seconds", "bert-cpu-seconds", "bert-gpu-seconds",
        "bert-text-seconds", "roberta-text-seconds", "bert-text-seconds-gpu",
        "roberta-text-seconds-gpu",
    ],
    "sizes of encoders": ["bert-parameters", "bert-bytes", "roberta-parameters", "roberta-bytes"],
    "memory of encoders": [
        "distilbert-cpu-memory", "distilbert-gpu-memory", "bert-cpu-memory", "bert-gpu-memory",
    ],
    "no_grad": ["no-grad-speed", "no-grad-memory"],
    "dynamic padding": ["dynamic-padding"],
    "8-bit": ["int8-memory"],
    "manual against pipeline": ["pipeline-overhead"],
    "batches": ["batch-mixed-lengths", "batch-equal-lengths", "batch-of-ten"],
    "model load time": ["load-time", "first-request"],
    "H2O frame": ["frame-once", "h2o-frame-seconds"],
    "H2O models": ["h2o-model-seconds"],
    "column types": ["column-types"],
    "lazy loading": ["lazy-loading"],
    "GPU": ["gpu"],
    "dynamic int8": ["dynamic-int8"],
    "ONNX Runtime": ["onnx-runtime"],
    "caching": ["cache"],
    "models at the same time": ["async"],
    "totals": [
        "total-cpu", "total-before", "total-frame-once", "total-column-types", "total-int8",
        "total-onnx",
    ],
    "totals on a GPU": [
        "total-gpu", "total-gpu-frame-once", "total-gpu-column-types", "total-gpu-int8",
        "total-gpu-onnx",
    ],
    "memory of the whole": ["memory-minimum"],
    "max_length": ["max-length-speed", "max-length-memory"],
}  # fmt: skip


@pytest.mark.parametrize("subject", WANTED)
def test_what_the_documents_say_is_in_the_ledger(subject):
    ids = {claim.id for claim in read_ledger().claims}
    assert set(WANTED[subject]) <= ids


def test_rows_that_claims_read_are_measured_by_their_commands():
    ledger = read_ledger()
    for claim in ledger.claims:
        figure = claim.figure
        rows = [one["row"] for one in figure.get("parts", [])] + [figure.get("row")]
        words = shlex.split(ledger.commands[claim.command].line)
        assert set(filter(None, rows)) <= set(words), claim.id


def test_the_ledger_holds_the_claims_of_all_five_documents():
    ledger = read_ledger()
    assert len(ledger.documents) == 5
    assert {claim.document for claim in ledger.claims} == set(ledger.documents)


def test_every_command_of_the_ledger_is_there_and_measures_a_claim():
    ledger = read_ledger()
    root = checkout_folder()
    assert {claim.command for claim in ledger.claims} == set(ledger.commands)
    assert [find_fault(one, root) for one in ledger.commands.values()] == [None] * len(
        ledger.commands
    )


def test_the_quick_ledger_is_meant_to_take_less_than_fifteen_minutes():
    ledger = read_ledger()
    names = {claim.command for claim in ledger.select(is_quick=True)}
    here = [ledger.commands[name] for name in names if "gpu" not in ledger.commands[name].needs]
    assert sum(command.usual_s for command in here) < 15 * 60


def test_claims_are_chosen_by_id_and_by_speed(ledger):
    assert [one.id for one in ledger.select(["late", "twice"])] == ["twice", "late"]
    assert [one.id for one in ledger.select(is_quick=True)] == ["twice", "memory"]
    with pytest.raises(UsageError, match="no claim never; `ivme claims --list` names all 3"):
        ledger.select(["twice", "never"])
    with pytest.raises(UsageError, match="late: not of the quick ledger; leave out --quick"):
        ledger.select(["twice", "late"], is_quick=True)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ('command = "slow"', 'command = "gone"', "claim 'late': command='gone'; expected one of"),
        ('kind = "ratio"', 'kind = "pounds"', "claim 'twice': kind='pounds'; expected one of"),
        ('reader = "fact"', 'reader = "star"', "claim 'twice': reader='star'; expected one of"),
        ('id = "late"', 'id = "twice"', "claim 'twice': another claim has this id"),
        ("low = 2, high = 3", "low = 4, high = 3", "claim 'twice': low=4 above high=3"),
        ("low = 2, ", "", "claim 'twice': .*'low'"),
        ("{record}", "x", "command 'fast': expected {record} in its line"),
        ("usual_s = 1", "usual_s = 1\nneeds = ['luck']", "needs=.*; expected one of cores, gpu"),
        ("[documents.guide]", "[documents.guide", "is not TOML"),
    ],
)
def test_a_ledger_that_does_not_fit_together_is_refused(checkout, before, after, message):
    path = checkout / "claims.toml"
    path.write_text(path.read_text().replace(before, after, 1))
    with pytest.raises(UsageError, match=message):
        read_ledger(path)


def test_a_ledger_that_is_not_there_is_named(tmp_path):
    path = tmp_path / "none.toml"
    with pytest.raises(UsageError, match=re.escape(f"cannot read {path}: No such file")):
        read_ledger(path)


def test_a_command_is_shown_as_a_reader_types_it(ledger):
    assert ledger.commands["fast"].shown == "python fast.py"
