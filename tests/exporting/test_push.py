"""An exported folder that goes to the hub: what a dry run shows, what is sent, what is refused before any work."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import yaml
from world import World, command

from benchmark.exporting.config import ExportError
from benchmark.exporting.hub import check_repository
from benchmark.exporting.origin import Origin, origin_of

pytest_plugins = ("world",)


@pytest.fixture
def kept(short_world: World) -> tuple[str, tuple[object, ...]]:
    """The key of a record with its weights beside it, and where it is."""
    assert short_world.run("--methods", "nullspace", "--save-weights").status == 0
    (key,) = [r.key for r in short_world.records().values() if r.cell["method"] == "nullspace"]
    return key, ("--results", short_world.results, "--cache-dir", short_world.cache)


class Hub:
    """Stands for the hub: keeps what it is sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, fails: bool = False) -> None:
        self.calls: list[tuple[str, dict[str, Any]]] = []
        hub = self

        class Api:
            def create_repo(self, repository: str, **options: Any) -> None:
                hub.calls.append(("create", {"repository": repository, **options}))

            def upload_folder(self, **options: Any) -> SimpleNamespace:
                if fails:
                    raise OSError("the hub\ncannot be reached")
                files = sorted(path.name for path in Path(options["folder_path"]).iterdir())
                hub.calls.append(("upload", {**options, "files": files}))
                return SimpleNamespace(commit_url="https://huggingface.co/me/forgot/commit/1")

        monkeypatch.setattr(huggingface_hub, "HfApi", Api)


def test_a_dry_run_shows_repository_files_and_card_and_sends_nothing(
    kept: tuple[str, tuple[object, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, (key, where) = Hub(monkeypatch), kept
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    answer = command("export", key, tmp_path / "model", *where, "--push", "me/forgot", "--dry-run")
    assert answer.status == 0 and not hub.calls, answer.err
    told = answer.out.split("dry run, nothing is sent\n")[1]
    assert told.startswith("repository: me/forgot (private if it is new)\nfiles: 4, ")
    written = sorted(path.name for path in (tmp_path / "model").iterdir())
    assert [line.split()[0] for line in told.split("model card:")[0].splitlines()[2:]] == written
    card = (tmp_path / "model" / "README.md").read_text()
    assert told.endswith(card + "\n") and 'create_model_and_transforms("hf-hub:me/forgot")' in card
    assert "base_model" not in yaml.safe_load(card.split("---\n")[1])  # the tiny model is none of the hub's


def test_a_folder_is_sent_private_unless_it_is_to_be_public(
    kept: tuple[str, tuple[object, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub, (key, where) = Hub(monkeypatch), kept
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    for number, public in enumerate(((), ("--public",))):
        answer = command("export", key, tmp_path / str(number), *where, "--push", "me/forgot", *public)
        assert answer.status == 0 and "sent: https://huggingface.co/me/forgot/commit/1" in answer.out, answer.err
    created, sent = hub.calls[::2], hub.calls[1::2]
    assert [call["private"] for _, call in created] == [True, False]
    assert {call["repository"] for _, call in created} == {call["repo_id"] for _, call in sent} == {"me/forgot"}
    assert sent[0][1]["files"] == ["README.md", "open_clip_config.json", "open_clip_model.safetensors", "record.json"]


def test_what_cannot_be_sent_is_one_line(
    kept: tuple[str, tuple[object, ...]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, where = kept
    Hub(monkeypatch, fails=True)
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: None)
    target = tmp_path / "model"
    assert "hf auth login" in command("export", key, target, *where, "--push", "me/forgot").error
    assert "is ORG/NAME" in command("export", key, target, *where, "--push", "forgot").error
    assert "--push ORG/NAME" in command("export", key, target, *where, "--dry-run").error
    assert not target.exists()
    monkeypatch.setattr(huggingface_hub, "get_token", lambda: "hf_x")
    told = command("export", key, target, *where, "--push", "me/forgot").error
    assert "the hub cannot be reached" in told and "hf upload me/forgot" in told
    assert (target / "record.json").is_file(), "what was made is kept"


@pytest.mark.parametrize("name", ["a", "a/b/c", "a/b--c", "../b", "a/b.git", "a /b", "a/.b", "a/b-"])
def test_names_that_are_no_repository(name: str) -> None:
    with pytest.raises(ExportError, match="ORG/NAME"):
        check_repository(name)
    assert check_repository("laion/CLIP-ViT_b.32") == "laion/CLIP-ViT_b.32"


def test_only_names_of_the_hub_are_base_models() -> None:
    assert origin_of("hf-hub:org/name@main") == Origin("org/name", "other", "org/name")
    assert origin_of("ViT-B-32/laion2b_s34b_b79k").hub == "laion/CLIP-ViT-B-32-laion2B-s34B-b79K"
    for model in ("shapes-resnet", "ViT-B-32:/home/me/w.pt", "local-dir:/home/me/model"):
        assert origin_of(model).hub == "", model
