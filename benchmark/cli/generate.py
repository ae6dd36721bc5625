"""`generate`: text-to-image generation with a recorded cell's text encoder, before and after unlearning."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from benchmark.cli.arguments import Option
from benchmark.cli.options import Device, Folder, Name, Places, Plugins, Seed, WhereFolder
from benchmark.records.lookup import cell_to_run, find_record

if TYPE_CHECKING:
    from torch import Tensor

    from benchmark.generation.trial import GenerationTrial, ImageReport


def generate_command(
    key: str,
    /,
    *,
    plugins: Plugins,
    pipeline: Folder,
    judge: Name = "ViT-B-32/openai",
    images: Annotated[int, Option("N", low=1, high=1_000_000)] = 50,
    steps: Annotated[int, Option("N", low=1, high=100_000)] = 50,
    guidance: Annotated[float, Option(low=0, high=1000)] = 7.5,
    batch: Annotated[int, Option("N", low=1, high=100_000)] = 4,
    places: Places,
    out: WhereFolder | None = None,
    seed: Seed = 0,
    hardware: Device,
) -> int:
    """Draw images with a recorded cell's text encoder, before and after unlearning, and count the names in them.

    The cell's unlearning runs again, with --device auto on the kind of device in the record. Its text encoder and the
    original one are put into a Stable Diffusion pipeline, which draws the same prompts from the same noise with each.
    Another CLIP says what the images show. The result goes below generation/ in the folder of the records.

    Args:
        key: The key of a record, of yours or of the project's, its beginning, or a record's file.
        pipeline: The folder of a Stable Diffusion 1.x pipeline in diffusers' format, with safetensors weights.
        judge: The zero-shot CLIP that looks at the images; another model than the cell's.
        images: Images with forgotten names, and as many with retained names, with each text encoder.
        steps: Denoising steps.
        guidance: Scale of classifier-free guidance.
        batch: Images drawn at once.
        out: A folder for the images as PNG files.
        seed: Of the noise that the images start from.
    """
    from benchmark.generation.pipeline import Settings, pipeline_folder, require_extra

    device = hardware.device
    settings = Settings(images, steps, guidance, seed, batch)
    cell = cell_to_run(find_record(key, places.results))
    folder = pipeline_folder(str(pipeline))
    require_extra()
    target = _image_folder(out)

    from benchmark.generation.trial import prepare
    from benchmark.records.store import RecordStore
    from methods.common.registry import Registry

    trial = prepare(
        cell,
        Registry(plugins.plugin),
        places.where(cell.device if device == "auto" else device),
        RecordStore(places.results),
        folder=folder,
        judge=judge,
        settings=settings,
        device=device,
    )
    print(f"unlearning: {cell}")
    trial.unlearn()
    for note in trial.notes:
        print(f"note: {note}")
    with _progress(trial, target) as on_image:
        report = trial.draw(on_image)
    options = {"--pipeline": str(pipeline), "--judge": judge}
    options |= {f"--{name}": f"{value}" for name, value in vars(settings).items()}
    options |= {"--device": device, **({"--plugin": ",".join(map(str, plugins.plugin))} if plugins.plugin else {})}
    path = report.write(places.results, command=_command(cell.key, options))
    print(report.table())
    print(f"written to {path}")
    return 0


def _command(key: str, options: dict[str, str]) -> str:
    parts = [key[:12], *(part for option in options.items() for part in option)]
    return f"python -m benchmark generate {shlex.join(parts)}"


def _image_folder(out: Path | None) -> Path | None:
    """The folder of the PNG files, made; an error before any work if it cannot be."""
    from benchmark.generation.pipeline import GenerationError

    if out is None:
        return None
    try:
        for when in ("before", "after"):
            (out / when).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GenerationError(f"--out {out} cannot be written to ({error.strerror or error})") from error
    return out


@contextmanager
def _progress(trial: GenerationTrial, folder: Path | None) -> Iterator[ImageReport]:
    """Shows how many images are drawn, as a bar or as plain lines, and keeps them where a folder is given."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True, highlight=False, markup=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    total, done = trial.image_count, 0
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        task = bars.add_task("drawing", total=total)

        def on_image(when: str, number: int, image: Tensor) -> None:
            nonlocal done
            done += 1
            if folder is not None:
                _save(folder / when / trial.plan.file_name(number), image)
            bars.update(task, completed=done, description=f"drawing {when} unlearning")
            if not console.is_terminal and done % max(1, total // 10) == 0:
                console.print(f"image {done}/{total}, {when} unlearning")

        yield on_image


def _save(path: Path, image: Tensor) -> None:
    from PIL import Image

    Image.fromarray(image.permute(1, 2, 0).numpy()).save(path)
