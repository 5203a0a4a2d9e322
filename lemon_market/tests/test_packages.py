"""The locks of all packages, and the checks before a commit: both have to say what a person wrote elsewhere."""

import re
from pathlib import Path

import pytest
import yaml

CHECKOUT = Path(__file__).parents[2]


def pinned(text: str) -> dict[str, str]:
    """Version by name, which pip compares without regard to case, and to `-` and `_`."""
    pins = re.findall(r"^([A-Za-z0-9_.-]+)(?:\[\w+\])?==([^\s;]+)", text, re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in pins}


@pytest.mark.parametrize("name", ["requirements", "requirements-dev"])
def test_the_lock_has_what_the_requirements_name(name):
    """If not: make lock."""
    named = pinned((CHECKOUT / f"{name}.txt").read_text())
    locked = pinned((CHECKOUT / f"{name}.lock").read_text())

    assert named
    assert named.items() <= locked.items()


def test_tests_run_with_the_versions_that_are_installed_elsewhere():
    run = pinned((CHECKOUT / "requirements.lock").read_text())
    development = pinned((CHECKOUT / "requirements-dev.lock").read_text())

    assert run.items() <= development.items()


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_every_package_of_a_lock_has_hashes_and_none_names_a_registry(name):
    text = (CHECKOUT / name).read_text()
    packages = re.split(r"^(?=\S)", re.sub(r"^#.*\n", "", text, flags=re.MULTILINE), flags=re.MULTILINE)

    assert len([package for package in packages if package]) == len(pinned(text))
    assert all("--hash=sha256:" in package for package in packages if package)
    assert "://" not in text


def test_a_commit_is_checked_as_by_make_lint():
    checks = re.findall(r"^CHECKS := (.+)$", (CHECKOUT / "Makefile").read_text(), re.MULTILINE)
    [repository] = yaml.safe_load((CHECKOUT / ".pre-commit-config.yaml").read_text())["repos"]

    assert [f"make {check}" for check in checks[0].split()] == [hook["entry"] for hook in repository["hooks"]]
