import ast
import importlib.util

import pytest

from ivme.evidence.running import checkout_folder

FOLDER = checkout_folder() / "benchmarks"


def load_run_all():
    specification = importlib.util.spec_from_file_location("run_all", FOLDER / "run_all.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


RUN_ALL = load_run_all()


def arguments_of(name):
    """Return each argument of a program's parser: its flags or name, and whether it must be."""
    found = {}
    for node in ast.walk(ast.parse((FOLDER / f"{name}.py").read_text())):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".add_argument"):
            flags = [ast.literal_eval(one) for one in node.args]
            keywords = {one.arg: ast.unparse(one.value) for one in node.keywords}
            is_needed = not flags[0].startswith("-") or keywords.get("required") == "True"
            found[flags[-1] if "--output" not in flags else "--output"] = is_needed
    return found


@pytest.mark.parametrize("name", RUN_ALL.benchmark_names())
def test_a_benchmark_that_is_run_needs_no_argument(name):
    arguments = arguments_of(name)
    assert not any(arguments.values())
    assert ("--output" in arguments) == (name not in RUN_ALL.NO_RECORD)


def test_what_is_left_out_is_there_and_says_why():
    assert all((FOLDER / f"{name}.py").is_file() for name in RUN_ALL.LEFT_OUT)
    assert all(RUN_ALL.LEFT_OUT.values())
    assert {"serving", "claims"} <= set(RUN_ALL.LEFT_OUT)
