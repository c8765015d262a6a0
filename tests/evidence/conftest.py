import json

import pytest

from ivme.evidence.ledger import read_ledger

LEDGER = """
[documents.guide]
file = "guide.txt"
title = "The guide"

[commands.fast]
line = "python fast.py --output {record}"
limit_s = 60
usual_s = 1

[commands.slow]
line = "python slow.py --output {record}"
limit_s = 60
usual_s = 1

[[claims]]
id = "twice"
document = "guide"
group = "speed"
text = "It is twice as fast."
claimed = { kind = "ratio", low = 2, high = 3 }
command = "fast"
figure = { reader = "fact", name = "speedup" }

[[claims]]
id = "memory"
document = "guide"
group = "speed"
text = "It takes half the memory."
claimed = { kind = "percent", low = 50, high = 50 }
command = "fast"
figure = { reader = "fact", name = "saved" }

[[claims]]
id = "late"
document = "guide"
group = "speed"
text = "It takes 3 s."
claimed = { kind = "seconds", low = 3, high = 3, direction = "about", margin = 1.0 }
command = "slow"
is_quick = false
figure = { reader = "fact", name = "seconds" }
"""


def writer(facts):
    """Return a program that counts its runs and writes facts as a record."""
    measurements = [
        {
            "label": name,
            "facts": {"value": value, "low": low, "high": high, "samples": 20, "note": None},
        }
        for name, (value, low, high) in facts.items()
    ]
    return (
        "import pathlib, sys\n"
        "runs = pathlib.Path(__file__ + '.runs')\n"
        "runs.write_text(runs.read_text() + 'x' if runs.exists() else 'x')\n"
        f"pathlib.Path(sys.argv[-1]).write_text({json.dumps({'measurements': measurements})!r})\n"
    )


FAST = {"speedup": (2.5, 2.4, 2.6), "saved": (20.0, 19.0, 21.0)}
SLOW = {"seconds": (9.0, 8.9, 9.1)}


@pytest.fixture
def write_program(tmp_path):
    """Return a function that writes a command of the ledger, with the facts of its record."""
    return lambda name, facts: (tmp_path / f"{name}.py").write_text(writer(facts))


@pytest.fixture
def checkout(tmp_path, write_program):
    """Return a folder with a ledger and the programs of its two commands."""
    (tmp_path / "claims.toml").write_text(LEDGER)
    write_program("fast", FAST)
    write_program("slow", SLOW)
    return tmp_path


@pytest.fixture
def ledger(checkout):
    return read_ledger(checkout / "claims.toml")
