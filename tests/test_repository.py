"""What hosts and contributors' machines read of the repository: workflows, issue forms and hooks are what they say."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from benchmark.cli.parser import parsed
from methods.common.card import REGIME_NAMES

ROOT = Path(__file__).resolve().parents[1]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
HOOKS = ROOT / ".pre-commit-config.yaml"
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PYTORCH = "https://download.pytorch.org/whl/cpu"


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps_of(workflow: Any) -> list[dict[str, Any]]:
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_all_of_them_are_there() -> None:
    assert {path.name for path in WORKFLOWS} == {"tests.yml", "docs.yml"}
    assert {path.name for path in FORMS} == {"bug.yml", "method.yml", "data_set.yml"}
    assert HOOKS.is_file()


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_can_run(path: Path) -> None:
    workflow = load(path)
    triggers = workflow[True]  # YAML reads the key `on` as a truth value
    assert {"push", "pull_request"} <= set(triggers)
    assert workflow["permissions"] == {"contents": "read"}, "no job writes to the repository"
    for name, job in workflow["jobs"].items():
        assert job["runs-on"] and job["timeout-minutes"] <= 90, name
        assert job["steps"][0]["uses"].startswith("actions/checkout@"), name
    for step in steps_of(workflow):
        assert ("uses" in step) != ("run" in step), step
        if "uses" in step:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"]), step


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_names_what_there_is(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert set(re.findall(r"https?://[^\s\"']+", text)) <= {PYTORCH}
    extras = set(re.findall(r"'\.\[(\w+)\]'", text))
    assert extras and extras <= set(PROJECT["project"]["optional-dependencies"])
    for step in steps_of(load(path)):
        for word in str(step.get("run", "")).split():
            if word.startswith((".ci/", "tests/")):
                assert (ROOT / word).is_file(), word


def test_the_tests_run_on_every_python_that_is_supported() -> None:
    jobs = load(ROOT / ".github" / "workflows" / "tests.yml")["jobs"]
    tested = jobs["tests"]["strategy"]["matrix"]["python"]
    classifiers = PROJECT["project"]["classifiers"]
    assert [f"Programming Language :: Python :: {version}" for version in tested] == [
        name for name in classifiers if re.search(r":: 3\.\d+$", name)
    ]
    assert PROJECT["project"]["requires-python"] == f">={tested[0]},<3.{int(tested[-1].split('.')[1]) + 1}"
    assert any(".ci/machines --oldest" in step.get("run", "") for step in jobs["oldest"]["steps"])
    (wheel,) = [step for step in jobs["wheel"]["steps"] if "tests/test_wheel.py" in step.get("run", "")]
    assert wheel["env"] == {"TESTS_WHEEL": "1"}
    assert "TESTS_WHEEL=1 pytest -n 0 tests/test_wheel.py" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("gpus", [1, 4])
def test_what_is_wanted_of_a_gpu_is_commands_that_there_are(gpus: int, tmp_path: Path) -> None:
    python = tmp_path / "python"  # it is asked for the number of GPUs alone
    python.write_text(f"#!/bin/sh\necho {gpus}\n", encoding="utf-8")
    python.chmod(0o755)
    environment = {**os.environ, "DRY": "1", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    words = [ROOT / ".ci" / "gpu", tmp_path / "out", tmp_path]
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=True)
    parts = dict(line.split(": python -m benchmark ") for line in done.stdout.splitlines())
    assert list(parts) == [
        *("speed", "quick", *(["devices"] if gpus > 1 else []), "mini", "pack-quick", "pack-cifar100", "leaderboard"),
    ]
    for command in parts.values():
        parsed(command.split())  # raises where an option is none
    assert subprocess.run(words[:1], capture_output=True).returncode == 2


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_is_one(path: Path) -> None:
    form = load(path)
    assert set(form) == {"name", "description", "labels", "body"}
    fields = [field for field in form["body"] if field["type"] != "markdown"]
    identifiers = [field["id"] for field in fields]
    assert len(set(identifiers)) == len(identifiers)
    assert any(field.get("validations", {}).get("required") for field in fields)
    for field in form["body"]:
        assert field["type"] in ("markdown", "input", "textarea", "dropdown")
        assert field["attributes"].get("value" if field["type"] == "markdown" else "label")
        assert (field["type"] == "dropdown") == ("options" in field["attributes"])


def test_the_form_for_a_method_offers_every_data_regime() -> None:
    fields = load(ROOT / ".github" / "ISSUE_TEMPLATE" / "method.yml")["body"]
    (regime,) = [field for field in fields if field.get("id") == "regime"]
    assert len(regime["attributes"]["options"]) == len(REGIME_NAMES)


def test_hooks_use_the_tools_of_the_environment() -> None:
    repositories = load(HOOKS)["repos"]
    hooks = {hook["id"]: hook for repository in repositories for hook in repository["hooks"]}
    tools = {"ruff-check": "ruff", "ruff-format": "ruff", "mypy": "mypy"}
    developers = {re.split(r"[<>=!]", name)[0] for name in PROJECT["project"]["optional-dependencies"]["dev"]}
    for name, tool in tools.items():
        assert hooks[name]["language"] == "system" and hooks[name]["entry"].split()[0] == tool
    assert {*tools.values(), "pre-commit"} <= developers
    assert {"check-yaml", "check-toml", "end-of-file-fixer", "trailing-whitespace"} <= set(hooks)
    for repository in repositories:
        assert repository["repo"] == "local" or re.fullmatch(r"v[\d.]+", repository["rev"])
        for pattern in (hook.get("exclude", "") for hook in repository["hooks"]):
            re.compile(pattern)
