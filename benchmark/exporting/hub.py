"""An exported folder as a repository of the Hugging Face hub: what would go there, and sending it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from benchmark.exporting.config import ExportError
from datamodules.common.text import one_line

REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def check_repository(name: str) -> str:
    """Check the name of a repository before any work.

    Raises:
        ExportError: If it is not of the form ORG/NAME that the hub takes.
    """
    if not REPOSITORY.fullmatch(name) or ".." in name or "--" in name or name.endswith((".git", ".ipynb", ".", "-")):
        raise ExportError(
            f"--push {name!r}: a repository of the hub is ORG/NAME, each of letters, digits, '.', '_' and '-', not "
            "'..' or '--'"
        )
    return name


@dataclass(frozen=True)
class Push:
    """An exported folder that goes to the hub.

    Attributes:
        repository: ORG/NAME.
        private: Whether nobody else sees it, if it has to be made.
        dry_run: Whether to say what would be sent, and to send nothing.
    """

    repository: str
    private: bool = True
    dry_run: bool = False

    def check(self) -> None:
        """Find out before any work whether it can be sent.

        Raises:
            ExportError: If the name is none, or nobody is logged in.
        """
        check_repository(self.repository)
        from huggingface_hub import get_token

        if not self.dry_run and not get_token():
            raise ExportError(
                f"--push {self.repository}: nobody is logged in to the Hugging Face hub: `hf auth login`, or set "
                "HF_TOKEN; --dry-run shows what would be sent without it"
            )

    def told(self, folder: Path) -> str:
        """What is sent: repository, files with their sizes, and the model card."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        sizes = [path.stat().st_size for path in files]
        width = max((len(path.relative_to(folder).as_posix()) for path in files), default=0)
        lines = [f"repository: {self.repository} ({'private' if self.private else 'public'} if it is new)"]
        lines.append(f"files: {len(files)}, {sum(sizes) / 1e6:.2f} MB")
        lines += [
            f"    {path.relative_to(folder).as_posix():{width}}  {size / 1e6:8.2f} MB"
            for path, size in zip(files, sizes, strict=True)
        ]
        card = folder / "README.md"
        lines += ["model card:", card.read_text(encoding="utf-8")] if card.is_file() else ["model card: none"]
        return "\n".join(lines)

    def send(self, folder: Path) -> str:
        """Send it; a repository that is there gets one more commit.

        Returns:
            The address.

        Raises:
            ExportError: If the hub refuses it; the folder stays as it is.
        """
        from huggingface_hub import HfApi
        from huggingface_hub.errors import HfHubHTTPError

        api = HfApi()
        try:
            api.create_repo(self.repository, repo_type="model", private=self.private, exist_ok=True)
            done = api.upload_folder(
                repo_id=self.repository, folder_path=folder, commit_message="An unlearned CLIP, with its record"
            )
        except (HfHubHTTPError, OSError, ValueError) as error:
            raise ExportError(
                f"{self.repository} was not sent ({type(error).__name__}: {one_line(str(error))[:200]}); the folder "
                f"{folder} is written: `hf upload {self.repository} {folder}` sends it again"
            ) from error
        return str(done.commit_url)
