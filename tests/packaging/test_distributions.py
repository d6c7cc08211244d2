"""What a user installs: the wheel and the sdist, built and looked into, and the wheel at work on its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.packaging

ROOT = Path(__file__).parents[2]

USE = """
import pathlib, sys, time
import dramatiq, littleq
from dramatiq import Worker
from littleq.middleware import Overloaded

broker = littleq.setup(littleq.Config(
    exporter_enabled=False, queues={"q": littleq.SLAQueueConfig("q", arrival_rate=2, sla_seconds=1)}
))
done = []

@dramatiq.actor(queue_name="q")
def work(number):
    done.append(number)

work.send(1)
work.send(2)
try:
    work.send(3)
except Overloaded as error:
    print(error)
worker = Worker(broker)
worker.start()
deadline = time.monotonic() + 20
while len(done) < 2 and time.monotonic() < deadline:
    time.sleep(0.01)
worker.stop()
print(sorted(done), pathlib.Path(littleq.__file__).parent.parent.name)
"""


@pytest.fixture(scope="module")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel, built from the sdist as an installer would, and the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)], check=True)
    (wheel,) = folder.glob("*.whl")
    (sdist,) = folder.glob("*.tar.gz")
    return wheel, sdist


def test_the_wheel_installs_no_module_but_littleq(distributions: tuple[Path, Path]) -> None:
    """A user has a `middleware`, an `actors` or a `tests` of their own."""
    names = zipfile.ZipFile(distributions[0]).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"littleq"}


def test_the_wheel_carries_the_middlewares_as_a_real_folder(distributions: tuple[Path, Path]) -> None:
    archive = zipfile.ZipFile(distributions[0])
    ours = {path.name for path in (ROOT / "middleware").glob("*.py")}
    packed = {info.filename for info in archive.infolist() if info.filename.startswith("littleq/middleware/")}
    assert packed == {f"littleq/middleware/{name}" for name in ours}
    assert all(info.external_attr >> 28 != 0o12 for info in archive.infolist()), "no links"
    assert archive.read("littleq/middleware/retries.py") == (ROOT / "middleware/retries.py").read_bytes()


def test_the_wheel_carries_scripts_types_and_licence(distributions: tuple[Path, Path]) -> None:
    names = set(zipfile.ZipFile(distributions[0]).namelist())
    scripts = {str(path.relative_to(ROOT)) for path in (ROOT / "littleq").rglob("*.lua")}
    assert len(scripts) >= 6
    assert scripts <= names
    assert "littleq/py.typed" in names
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_sdist_is_complete_and_clean(distributions: tuple[Path, Path]) -> None:
    with tarfile.open(distributions[1]) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for needed in (
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "pyproject.toml",
        "littleq/middleware/admission.py",
    ):
        assert needed in names
    assert not [
        name for name in names if name.startswith((".venv", ".cache", "dist/")) or name.endswith(".pyc")
    ]


def test_the_installed_wheel_works_on_its_own(distributions: tuple[Path, Path], tmp_path: Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv/bin/python"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment["LITTLEQ_DATA_DIR"] = str(tmp_path / "data")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, f"{distributions[0]}[cli,embedded]"], check=True, env=environment)
    used = subprocess.run(
        [python, "-c", USE], capture_output=True, text=True, check=True, env=environment, cwd=tmp_path
    )
    assert "Queue 'q' is full: it holds 2 jobs and one more would pass its limit of 2" in used.stdout
    assert used.stdout.splitlines()[-1] == "[1, 2] site-packages"
    version = subprocess.run(
        [tmp_path / "venv/bin/littleq", "--version"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
        cwd=tmp_path,
    )
    assert version.stdout.strip().endswith("0.1.0")
