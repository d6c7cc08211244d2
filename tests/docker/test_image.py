"""The image: small, nobody's root, nothing to write to, and honest about bad input."""

from __future__ import annotations

from typing import Any

import pytest

from tests.docker.engine import base_tag

pytestmark = pytest.mark.docker

#: What LittleQ, the reference app and all that they need may add to the base. Measured: about 100 MB, of which gRPC,
#: Pillow and Pydantic are more than half.
MOST_BYTES = 160_000_000


def run(client: Any, image: Any, *arguments: str, **options: Any) -> tuple[int, str]:
    """A container from start to end: its exit code, and all that it printed."""
    container = client.containers.run(image.id, list(arguments), detach=True, **options)
    try:
        code = container.wait(timeout=60)["StatusCode"]
        return code, container.logs().decode()
    finally:
        container.remove(force=True)


def python(client: Any, image: Any, program: str) -> str:
    code, said = run(client, image, "-c", program, entrypoint=["python3"])
    assert code == 0, said
    return said.strip()


def test_it_is_small(client: Any, image: Any) -> None:
    own = image.attrs["Size"] - client.images.get(base_tag()).attrs["Size"]
    print(f"{own / 1e6:.0f} MB above the base")
    assert own < MOST_BYTES


def test_it_runs_as_nobody_in_particular_and_without_a_shell_in_between(client: Any, image: Any) -> None:
    config = image.attrs["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["littleq"]
    assert config["StopSignal"] == "SIGTERM"
    assert config["Healthcheck"]["Test"] == ["CMD", "littleq", "health"]
    assert python(client, image, "import os; print(os.getuid(), os.getgid())") == "10001 10001"


def test_it_holds_no_installer_and_no_cache(client: Any, image: Any) -> None:
    program = (
        "import importlib.util as u, pathlib, shutil, sys;"
        "print(sys.prefix, u.find_spec('pip'), shutil.which('gcc'), shutil.which('cc'),"
        "[str(p) for p in pathlib.Path('/').glob('*/.cache/pip')], pathlib.Path('/src').exists())"
    )
    assert python(client, image, program) == "/opt/littleq None None None [] False"


def test_all_that_runs_at_run_time_is_compiled(client: Any, image: Any) -> None:
    """The root file system is read-only: what is not compiled is compiled again at each start."""
    program = (
        "import pathlib, importlib.util as u;"
        "files = [p for f in ('/opt/littleq/lib', '/app/actors') for p in pathlib.Path(f).rglob('*.py')"
        " if 'littleq' in p.parts[-2:][0] or '/app/' in str(p)];"
        "print(len(files) > 10, [str(p) for p in files if not pathlib.Path(u.cache_from_source(str(p))).exists()])"
    )
    assert python(client, image, program) == "True []"


def test_it_works_with_nothing_to_write_to_but_tmp(client: Any, image: Any) -> None:
    environment = {"LITTLEQ_URL": "redis://nowhere.invalid:6379/0"}
    options = {
        "read_only": True,
        "tmpfs": {"/tmp": "size=16m"},
        "cap_drop": ["ALL"],
        "environment": environment,
    }
    code, said = run(client, image, "config", "check", **options)
    assert (code, "2 queues configured" in said) == (0, True), said
    code, said = run(client, image, "manifests", "--overlay", "keda", **options)
    assert (code, "kind: ScaledObject" in said) == (0, True), said


@pytest.mark.parametrize("command", ["worker", "controller", "exporter", "scaler"])
def test_a_wrong_url_is_one_sentence_and_exit_code_2(client: Any, image: Any, command: str) -> None:
    url = "nonsense://:secret@nowhere"
    code, said = run(client, image, command, environment={"LITTLEQ_URL": url})
    assert code == 2, said
    assert len(said.strip().splitlines()) == 1 and "nonsense" in said
    assert "secret" not in said and "Traceback" not in said
