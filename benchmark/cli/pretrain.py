"""`pretrain`: train a small CLIP from a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from benchmark.cli.arguments import Option, title_of
from benchmark.cli.options import Device, Folders, Seed, WhereFile

if TYPE_CHECKING:
    from benchmark.pretraining.recipe import Recipe
    from datamodules.common.request import ForgetRequest


def pretrain_command(
    recipe: str,
    /,
    *,
    out: WhereFile | None = None,
    folders: Folders,
    seed: Seed = 0,
    hardware: Device,
    precision: Annotated[Literal["auto", "fp32", "bf16"], Option(title=title_of(Device))] = "auto",
    compiled: bool = False,
    exclude: Annotated[str, Option("NAME,...")] | None = None,
) -> int:
    """Train a small CLIP from a recipe, write one small file, and say how well it does.

    How far it is is kept every two minutes beside the file (FILE.training), and one that was stopped or killed goes on
    from there when the same command runs again.

    Args:
        recipe: shapes-resnet, shapes-small, shapes-vit, mini or micro.
        out: The file to write; by default RECIPE.safetensors here.
        seed: Of the weights, the order and the augmentation.
        precision: auto takes bf16 where the chip is fast at it.
        compiled: Compile the vision tower: a minute lost, then about a sixth faster; needs a C++ compiler.
        exclude: What the model must never see: names separated by commas, which are left out of all its data sets, or
            requests by data set as YAML.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    from benchmark.evaluation.model_report import report
    from benchmark.models.compact import load_compact
    from benchmark.pretraining.recipe import load_recipe
    from benchmark.pretraining.train import pretrain

    chosen = load_recipe(recipe)
    target = out or Path(f"{recipe}.safetensors")
    check_target(target)
    data, cache = folders.data_dir, folders.cache
    excluded = _excluded(exclude, chosen, data, cache)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True, highlight=False)
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task(f"training {recipe}", total=None)
        smooth = [0.0]

        def show(step: int, steps: int, loss: float) -> None:
            smooth[0] = loss if step == 1 else 0.95 * smooth[0] + 0.05 * loss
            bars.update(task, total=steps, completed=step, description=f"training {recipe}, loss {smooth[0]:.3f}")
            if not console.is_terminal and step % max(1, steps // 20) == 0:
                console.print(f"step {step}/{steps}, loss {smooth[0]:.3f}")

        trained = pretrain(
            chosen,
            target,
            data_dir=data,
            cache_dir=cache,
            seed=seed,
            exclude=excluded,
            device=hardware.device,
            precision=precision,
            compiled=compiled,
            progress=show,
            checkpoint=target.with_name(f"{target.name}.training"),
            say=lambda line: console.print(line, markup=False),
        )
    rate = trained.pairs / trained.seconds
    size = target.stat().st_size / 1e6
    print(f"{target}: {size:.1f} MB, {trained.pairs} pairs in {trained.seconds:.0f} s ({rate:.0f} a second)")
    clip = load_compact(target, recipe)
    for line in report(clip, tuple(chosen.data), data, cache, excluded):
        print(line)
    return 0


def check_target(path: Path) -> None:
    """Find out before hours of training whether a file can be written.

    Raises:
        BenchmarkError: If it cannot.
    """
    import uuid

    from datamodules.common.errors import BenchmarkError

    advice = "name another file with --out"
    try:
        if path.is_dir():
            raise BenchmarkError(f"{path} is a folder, not a file for the model: {advice}")
        if not path.parent.is_dir():
            raise BenchmarkError(f"no folder {path.parent} for the model's file: make it, or {advice}")
        probe = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        probe.touch(exist_ok=False)
        probe.unlink()
        if path.exists():
            path.open("r+b").close()
    except OSError as error:
        raise BenchmarkError(f"{path} cannot be written ({error.strerror or error}): {advice}") from error


def _excluded(text: str | None, recipe: Recipe, data_dir: Path | None, cache_dir: Path) -> dict[str, ForgetRequest]:
    from benchmark.pretraining.exclusions import exclusions_everywhere
    from datamodules.common.documents import parse_yaml
    from datamodules.common.errors import BenchmarkError
    from datamodules.common.registry import open_dataset
    from datamodules.common.request import ForgetRequest

    if not text:
        return {}
    content = parse_yaml(text, "--exclude").content
    if isinstance(content, str):
        names = [name.strip() for name in content.split(",") if name.strip()]
        side = recipe.architecture.image_input.image_size
        return exclusions_everywhere([open_dataset(name, data_dir, cache_dir, side) for name in recipe.data], names)
    if not isinstance(content, dict) or not all(isinstance(value, dict) for value in content.values()):
        raise BenchmarkError(
            "--exclude is names, such as 'apple,bus', or requests by data set, such as '{shapes: {classes: [star]}}'"
        )
    return {name: ForgetRequest.from_dict(request) for name, request in content.items()}
