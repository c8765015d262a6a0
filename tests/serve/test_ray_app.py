"""The application on a Ray cluster of this machine, one of whose two replicas is killed."""

import contextlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from ivme.errors import UsageError
from ivme.hardware.inventory import read_inventory
from ivme.serve.configuration import ServeConfig
from ivme.serve.ray_app import (
    SPARE_REQUESTS,
    Replica,
    deployment_options,
    serve_on_ray,
    settled_config,
)

COMMAND = (sys.executable, "-c", "from ivme.cli.main import main; main()", "serve")
OPTIONS = ("--workers", "2", "--max-queue", "8", "--ray", "local")
MOST_RESTART_S = 120  # on a machine that does much else; a few where it does not
TEXT = {"text": "a text of a few words"}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from ivme.engines.batching import Batching
    from ivme.engines.protocol import EngineOptions
    from ivme.models.loading import load_model
    from ivme.tune.plan import write_plan
    from ivme.tune.variants import Variant

    folder = tmp_path_factory.mktemp("ray") / "plan"
    variant = Variant(
        engine="onnxruntime", precision="float32", threads=1, batching=Batching(batch_size=8)
    )
    write_plan(
        folder,
        model=load_model("preset:bert-tiny"),
        variant=variant,
        options=EngineOptions(max_length=64),
        evidence={},
    )
    return folder


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def served(plan: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """Serve in a process of its own, which is asked to stop at the end."""
    command = [*COMMAND, str(plan), "--port", str(port), *OPTIONS]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        for line in process.stderr:
            said.append(line)
            if line.startswith("serving "):
                break
        else:
            pytest.fail("".join(said))
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.communicate(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                raise


def replicas(process: subprocess.Popen[str]) -> list[psutil.Process]:
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "ServeReplica" in " ".join(child.cmdline()):
                found.append(child)
    return found


@pytest.mark.slow
def test_with_one_of_two_replicas_killed_the_service_goes_on_and_the_replica_returns(
    plan: Path,
) -> None:
    pytest.importorskip("ray.serve", reason="needs the extra ray: pip install 'ivme[ray]'")
    port = free_port()
    with served(plan, port) as process, httpx.Client(timeout=30) as client:
        url = f"http://127.0.0.1:{port}"
        answer = client.post(f"{url}/v1/classify", json=TEXT)
        assert answer.status_code == 200
        assert client.get(f"{url}/ready").json() == {"ready": True}
        assert client.post(f"{url}/v1/classify", json={}).status_code == 422
        assert "x-content-type-options" in answer.headers

        before = replicas(process)
        assert len(before) == 2
        before[0].kill()
        before[0].wait(timeout=10)
        statuses = []
        deadline = time.monotonic() + MOST_RESTART_S
        while len(replicas(process)) < 2 and time.monotonic() < deadline:
            statuses.append(client.post(f"{url}/v1/classify", json=TEXT).status_code)
        assert len(replicas(process)) == 2
        # Those that were on their way to the dead one may fail, none after that.
        assert statuses.count(200) >= len(statuses) - 3
        assert set(statuses) <= {200, 500, 503}
        after = [client.post(f"{url}/v1/classify", json=TEXT) for _ in range(20)]
        assert [one.json() for one in after] == [answer.json()] * 20
    assert process.returncode == 0


def test_a_replica_is_given_more_requests_than_may_wait_in_it(plan: Path) -> None:
    options = deployment_options(ServeConfig(folder=plan, workers=3, max_queue=100, threads=2))
    assert options["num_replicas"] == 3
    assert options["max_ongoing_requests"] == 100 + SPARE_REQUESTS
    assert options["ray_actor_options"] == {"num_cpus": 2}


def test_a_replica_takes_the_threads_of_its_plan(plan: Path) -> None:
    assert deployment_options(ServeConfig(folder=plan))["ray_actor_options"] == {"num_cpus": 1}


@pytest.mark.parametrize("asked", [None, 3])
def test_a_replica_of_an_ensemble_takes_no_more_threads_than_ray_keeps_free(
    ensemble_folder: Path, asked: int | None
) -> None:
    config = settled_config(ServeConfig(folder=ensemble_folder, threads=asked, lazy=True))
    expected = asked or read_inventory().processor.usable_cores
    assert deployment_options(config)["ray_actor_options"] == {"num_cpus": expected}
    model = Replica(config)._model
    try:
        assert model._config.threads == expected
    finally:
        model.close()


def test_replicas_of_an_ensemble_share_the_machine(ensemble_folder: Path) -> None:
    many = settled_config(ServeConfig(folder=ensemble_folder, workers=1000))
    assert deployment_options(many)["ray_actor_options"] == {"num_cpus": 1}


def test_what_is_wrong_is_told_before_ray_starts(plan: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="port=0; Ray Serve needs a port by number"):
        serve_on_ray(ServeConfig(folder=plan, port=0), "local")
    with pytest.raises(UsageError, match=str(tmp_path)):
        serve_on_ray(ServeConfig(folder=tmp_path), "local")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        taken = listener.getsockname()[1]
        with pytest.raises(UsageError, match=f"cannot listen on 127.0.0.1 port {taken}"):
            serve_on_ray(ServeConfig(folder=plan, port=taken), "local")


def test_listening_to_other_machines_without_a_key_is_warned_about(
    plan: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)  # it is told before Ray starts
    with pytest.raises(UsageError, match="--ray needs ray"):
        serve_on_ray(ServeConfig(folder=plan, host="0.0.0.0", port=free_port()), "local")
    assert "can be reached from other machines, and no key is asked for" in caplog.text


def test_without_ray_the_extra_is_named(plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"--ray needs ray, which .* pip install 'ivme\[ray\]'"):
        serve_on_ray(ServeConfig(folder=plan, port=free_port()), "local")
