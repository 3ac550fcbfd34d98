"""What is installed: every package with its data, and a lock that pins all of it."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked() -> dict[str, str]:
    lines = [
        line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and not line.startswith("#")
    ]
    pins = [line.split("==") for line in lines]
    assert all(len(pin) == 2 for pin in pins), "every line pins one version"
    return {canonicalize_name(name): version for name, version in pins}


def test_the_lock_meets_every_range_of_the_project() -> None:
    pins = locked()
    wanted = [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    for requirement in map(Requirement, wanted):
        assert pins[canonicalize_name(requirement.name)] in requirement.specifier, requirement


def test_the_lock_pins_transitive_packages_too() -> None:
    pins = locked()
    for name in pins:
        for line in importlib.metadata.requires(name) or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                assert canonicalize_name(requirement.name) in pins, f"{name} needs {requirement}"


def test_torch_has_no_hash_and_no_local_tag_and_the_bad_releases_are_excluded() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert re.search(r"^torch==2\.13\.0$", text, re.M)
    assert "--hash" not in text
    assert "://" not in text
    ranges = {requirement.name: requirement.specifier for requirement in map(Requirement, PROJECT["dependencies"])}
    assert "3.8.8" not in ranges["prefect"]  # no schedule fires with SQLAlchemy 2.1, no flow starts with fastapi 0.155


def test_every_package_is_found_with_its_data() -> None:
    from setuptools import find_packages  # noqa: PLC0415

    found = set(find_packages(str(ROOT), include=["pipeline", "pipeline.*", "flows", "flows.*"]))
    folders = {path.parent for top in ("pipeline", "flows") for path in (ROOT / top).rglob("*.py")}
    assert found == {".".join(folder.relative_to(ROOT).parts) for folder in folders}
    assert "pipeline.operation.ledger.migrations.versions" in found  # Alembic reads the folder, nothing imports it
    assert (ROOT / "pipeline" / "market" / "data" / "PROVENANCE.md").exists()
