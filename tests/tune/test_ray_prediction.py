"""A file on a Ray cluster of two actors, one of which is killed midway."""

import json
import os
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest

from ivme.engines.batching import Batching
from ivme.engines.protocol import EngineOptions
from ivme.errors import UsageError
from ivme.models.loading import load_model
from ivme.tune import ray_prediction
from ivme.tune.answer_lines import AnswerLines
from ivme.tune.file_prediction import FileJob, here_in_chunks, predict_file
from ivme.tune.plan import PLAN_FILE, Plan, load_plan, plan_to_json, write_plan
from ivme.tune.ray_prediction import actors_with_room, predict_file_on_ray
from ivme.tune.variants import Variant

KILLING = """
import sys
from contextlib import nullcontext
from pathlib import Path
import psutil
from ivme.tune.file_prediction import FileJob
from ivme.tune.ray_prediction import predict_file_on_ray

killed = []

def kill_one_actor(progress):
    if progress.rows and not killed:
        actors = [
            child
            for child in psutil.Process().children(recursive=True)
            if "Answerer" in " ".join(child.cmdline())
        ]
        assert len(actors) == 2, actors
        actors[0].kill()
        killed.append(progress.rows)

folder = Path(sys.argv[1])
job = FileJob(source=folder / "texts.txt", output=folder / "ray.jsonl", chunk_rows=10)
done = predict_file_on_ray(
    job, folder / "plan", limits={}, address="local", workers=2, tell=kill_one_actor
)
assert killed and killed[0] < done.rows, killed
print(done.rows)
"""


@pytest.mark.slow
def test_a_killed_actor_loses_nothing_and_repeats_nothing(tmp_path: Path) -> None:
    pytest.importorskip("ray.data", reason="needs the extra ray: pip install 'ivme[ray]'")
    variant = Variant(
        engine="onnxruntime", precision="float32", threads=1, batching=Batching(batch_size=8)
    )
    write_plan(
        tmp_path / "plan",
        model=load_model("preset:bert-tiny"),
        variant=variant,
        options=EngineOptions(max_length=64),
        evidence={},
    )
    lines = "".join(f"text {at} {'word ' * (at % 30)}\n" if at % 50 else "\n" for at in range(600))
    (tmp_path / "texts.txt").write_text(lines)
    command = [sys.executable, "-c", KILLING, str(tmp_path)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr

    here = FileJob(source=tmp_path / "texts.txt", output=tmp_path / "here.jsonl")
    with load_plan(tmp_path / "plan") as predictor:
        writer = AnswerLines("jsonl", "classifier", predictor.labels)
        answer = here_in_chunks(predictor.predict, writer, here.chunk_rows)
        predict_file(here, here.identity(predictor.plan), answer, writer)
    found, expected = (
        [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in ("ray.jsonl", "here.jsonl")
    )
    assert [row["line"] for row in found] == list(range(1, 601))
    assert [row.get("label") for row in found] == [row.get("label") for row in expected]
    assert [row.get("error") for row in found] == [row.get("error") for row in expected]


def test_each_machine_takes_as_many_actors_as_it_has_room_for() -> None:
    assert actors_with_room([4.0], 2) == 2
    assert actors_with_room([3.0, 3.0, 0.0], 2) == 2  # none runs on two machines


@pytest.mark.parametrize("workers", [None, 1])
def test_a_plan_for_more_threads_than_any_machine_has_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, workers: int | None
) -> None:
    variant = Variant(
        engine="onnxruntime", precision="float32", threads=4, batching=Batching(streams=2)
    )
    plan = Plan(
        reference="model",
        content_hash="",
        kind="classifier",
        dtype="float32",
        device="cpu",
        attention="sdpa",
        variant=variant,
    )
    (tmp_path / PLAN_FILE).write_text(plan_to_json(plan))
    (tmp_path / "texts.txt").write_text("a text\n")
    job = FileJob(source=tmp_path / "texts.txt", output=tmp_path / "ray.jsonl")
    # As a cluster of two machines with four processors each.
    monkeypatch.setattr(
        ray_prediction, "connected_cluster", lambda address, processors: nullcontext([4.0, 4.0])
    )
    with pytest.raises(
        UsageError,
        match=r"runs on 8 threads, and the largest .* has 4 processors; leave out --ray",
    ):
        predict_file_on_ray(job, tmp_path, limits={}, address="auto", workers=workers)
    assert not job.output.exists()


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ivme.tune.ray_prediction import connected_cluster

    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(UsageError, match=r"--ray needs ray, which .* pip install 'ivme\[ray\]'"),
        connected_cluster("local", None),
    ):
        pass
