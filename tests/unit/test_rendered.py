"""What is checked in beside the code, for compose and the image, is what the code makes of it (`make rendered`)."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from littleq import __version__
from littleq.config.sources import load_config
from littleq.monitoring.dashboard import dashboard
from littleq.monitoring.rules import rule_groups
from tests.support import ROOT


def compose() -> dict[str, Any]:
    return dict(yaml.safe_load((ROOT / "compose.yaml").read_text()))


def test_the_rules_of_compose_are_those_of_the_code() -> None:
    rules = yaml.safe_load((ROOT / "compose" / "rules.yml").read_text())
    assert rules["groups"] == rule_groups(load_config(path=ROOT / "littleq.toml")), "run make rendered"


def test_the_dashboard_of_compose_is_that_of_the_code() -> None:
    stored = json.loads((ROOT / "compose" / "grafana" / "dashboards" / "littleq.json").read_text())
    assert stored == json.loads(json.dumps(dashboard())), "run make rendered"


def test_compose_runs_this_version_and_mounts_what_is_there() -> None:
    services = compose()["services"]
    ours = [name for name, service in services.items() if str(service["image"]).startswith("littleq:")]
    assert {services[name]["image"] for name in ours} == {f"littleq:{__version__}"}
    mounts = [mount for service in services.values() for mount in service.get("volumes", ())]
    for source in (mount.split(":")[0] for mount in mounts if mount.startswith("./")):
        assert (ROOT / source).exists(), source


def test_every_service_of_compose_is_watched_and_restricted() -> None:
    for name, service in compose()["services"].items():
        assert "healthcheck" in service, name
        assert service["cap_drop"] == ["ALL"], name
        assert "no-new-privileges:true" in service["security_opt"], name
        for port in service.get("ports", ()):
            assert port.startswith("127.0.0.1:"), name


def locked() -> dict[str, Version]:
    text = (ROOT / "docker" / "requirements.txt").read_text()
    found = re.findall(r"^([a-z0-9.-]+)==(\S+)", text, re.MULTILINE)
    assert text.count("--hash=sha256:") >= len(found)
    return {name: Version(version) for name, version in found}


@pytest.mark.parametrize("extra", ["", "cli", "server", "keda", "kubernetes"])
def test_the_lock_of_the_image_satisfies_the_project(extra: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = project["optional-dependencies"][extra] if extra else project["dependencies"]
    versions = locked()
    for line in wanted:
        requirement = Requirement(line)
        if requirement.name != "littleq":
            version = versions[requirement.name.lower()]
            assert requirement.specifier.contains(version), f"{line}: {version} is locked; run make lock"
