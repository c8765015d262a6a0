import pytest

from ivme.cli.tune import read_bytes, read_share
from ivme.errors import UsageError
from ivme.measure.records import load_record
from ivme.tune import tuning

QUICK = ("--threads", 1, "--budget", 3, "--limit", 12)
ENGINES = ("--engine", "transformers:float32,transformers:bfloat16")


@pytest.fixture(autouse=True)
def no_fresh_processes(monkeypatch):
    """Memory alone is measured by its own tests; each takes a process of seconds."""
    monkeypatch.setattr(tuning, "peak_memory_alone", lambda *_: 100_000_000)


def test_it_prints_what_was_chosen_and_writes_plan_and_record(ivme, tmp_path):
    plan, record = tmp_path / "plan", tmp_path / "tune.json"
    outcome = ivme("tune", "preset:bert-tiny", *ENGINES, *QUICK, "-o", plan, "--output", record)
    assert outcome.status == 0
    assert "Variants that ran" in outcome.stdout
    assert "random weights: answers mean nothing" in outcome.stdout
    assert outcome.stdout.endswith(
        f"record: {record}\nreport: ivme report {record}\nplan:   {plan}\n"
        f"next:   ivme predict --plan {plan} FILE\n"
    )
    assert max(map(len, outcome.stdout.split("\nrecord: ")[0].splitlines())) <= 80
    assert load_record(record).kind == "tune"
    assert (plan / "plan.json").is_file()


def test_json_is_the_record_alone(ivme, tmp_path):
    outcome = ivme("tune", "preset:bert-tiny", *ENGINES, *QUICK, "--json")
    assert outcome.status == 0
    (tmp_path / "tune.json").write_text(outcome.stdout)
    assert load_record(tmp_path / "tune.json").command[:2] == ("ivme", "tune")


def test_without_any_variant_within_the_budget_it_says_how_close_the_best_came(
    ivme, tmp_path, monkeypatch
):
    monkeypatch.setattr(tuning, "has_random_weights", lambda model: False)
    outcome = ivme(
        "tune",
        "preset:bert-tiny",
        *(
            "--engine",
            "transformers:bfloat16",
            *QUICK,
            "--budget",
            60,
        ),  # ends sooner
        *("--output", tmp_path / "tune.json"),
    )
    assert outcome.status == 1
    message = " ".join(outcome.stderr.split())
    assert "no variant is within the quality budget of 0.50%; transformers:bfloat16 came" in message
    assert "even without any loss it takes 598 texts" in " ".join(outcome.stdout.split())
    assert load_record(tmp_path / "tune.json").is_complete


def test_shares_and_sizes_are_read_as_people_write_them():
    assert read_share("0.5%") == pytest.approx(0.005)
    assert read_share("0.005") == 0.005
    assert read_bytes("500MB") == 500_000_000
    assert read_bytes("1.5 GiB") == 3 * 2**29
    assert read_bytes("1024") == 1024
    with pytest.raises(UsageError, match="'little' is no share; expected one as in"):
        read_share("little")
    for text in ("much", "inf"):
        message = f"'{text}' is no amount of memory; expected one as in 500MB"
        with pytest.raises(UsageError, match=message):
            read_bytes(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--objective", "speed"), "objective='speed'; expected one of latency, throughput"),
        (("--engine", "tensorrt"), "engine='tensorrt'; expected one of"),
        (("--max-quality-loss", "x"), "'x' is no share"),
        (("--labels", "label"), "labels need a file"),
    ],
)
def test_wrong_use_is_one_line_and_status_2(ivme, arguments, message):
    outcome = ivme("tune", "preset:bert-tiny", *arguments)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert message in outcome.stderr
