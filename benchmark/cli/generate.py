"""`generate`: text-to-image generation with a recorded cell's text encoder, before and after unlearning."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from benchmark.cli.listing import Listed, paths
from benchmark.records.lookup import cell_to_run, find_record
from benchmark.utils.folders import cache_folder

if TYPE_CHECKING:
    from torch import Tensor

    from benchmark.generation.trial import GenerationTrial, ImageReport


def generate_command(
    key: str,
    pipeline: str,
    judge: str = "ViT-B-32/openai",
    images: int = 50,
    steps: int = 50,
    guidance: float = 7.5,
    seed: int = 0,
    batch: int = 4,
    results: str = "results/runs",
    data_dir: str | None = None,
    cache_dir: str | None = None,
    device: str = "auto",
    out: str | None = None,
    plugin: Listed = None,
) -> int:
    """Draw images with a recorded cell's text encoder, before and after unlearning, and count the names in them.

    The cell's unlearning runs again. Its text encoder and the original one are put into a Stable Diffusion pipeline,
    which draws the same prompts from the same noise with each. Another CLIP says what the images show.

    Args:
        key: The key of a record, its beginning, or a record's file.
        pipeline: The folder of a Stable Diffusion 1.x pipeline in diffusers' format, with safetensors weights.
        judge: The zero-shot CLIP that looks at the images; another model than the cell's.
        images: Images with forgotten names, and as many with retained names, with each text encoder.
        steps: Denoising steps.
        guidance: Scale of classifier-free guidance.
        seed: Of the noise that the images start from.
        batch: Images drawn at once.
        results: The folder of the records; the result goes below generation/ in it.
        data_dir: The folder of the real data sets.
        cache_dir: The folder of decoded images and features.
        device: auto, cpu, cuda or cuda:N; with auto, unlearning runs on the kind of device in the record.
        out: A folder for the images as PNG files.
        plugin: Files of further methods, separated by commas; may be repeated.
    """
    from benchmark.generation.pipeline import Settings, pipeline_folder, require_extra

    settings = Settings(images, steps, guidance, seed, batch)
    cell = cell_to_run(find_record(key, Path(results)))
    folder = pipeline_folder(pipeline)
    require_extra()
    target = _image_folder(out)

    from benchmark.generation.trial import prepare
    from benchmark.records.store import RecordStore
    from benchmark.suites.expansion import Where
    from methods.common.registry import Registry

    trial = prepare(
        cell,
        Registry(paths(plugin)),
        Where(
            Path(data_dir).expanduser() if data_dir else None,
            cache_folder(cache_dir),
            cell.device if device == "auto" else device,
        ),
        RecordStore(Path(results)),
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
    options = {"--pipeline": pipeline, "--judge": judge}
    options |= {f"--{name}": f"{value}" for name, value in vars(settings).items()}
    options |= {"--device": device, **({"--plugin": ",".join(map(str, paths(plugin)))} if plugin else {})}
    path = report.write(Path(results), command=_command(cell.key, options))
    print(report.table())
    print(f"written to {path}")
    return 0


def _command(key: str, options: dict[str, str]) -> str:
    parts = [key[:12], *(part for option in options.items() for part in option)]
    return f"python -m benchmark generate {shlex.join(parts)}"


def _image_folder(out: str | None) -> Path | None:
    """The folder of the PNG files, made; an error before any work if it cannot be."""
    from benchmark.generation.pipeline import GenerationError

    if out is None:
        return None
    folder = Path(out).expanduser()
    try:
        for when in ("before", "after"):
            (folder / when).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise GenerationError(f"--out {out} cannot be written to ({error.strerror or error})") from error
    return folder


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
