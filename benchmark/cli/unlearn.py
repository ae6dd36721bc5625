"""`unlearn`: one model, one request, one folder: unlearned, measured, exported with its model card."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from benchmark.cli.arguments import Option, title_of
from benchmark.cli.options import Device, Folders, Forget, Name, NameList, PrecisionName, Seed, SettingList
from datamodules.common.errors import BenchmarkError


def unlearn_command(
    *,
    model: Name,
    method: Name,
    set: SettingList = (),
    forget: Forget,
    data: Name | None = None,
    others: NameList = (),
    keep: NameList = (),
    measures: NameList = (),
    out: Annotated[str, Option("DIR", title=title_of(Folders))],
    folders: Folders,
    seed: Seed = 0,
    precision: PrecisionName = "fp32",
    hardware: Device,
) -> int:
    """Unlearn classes or a concept from a model and write it as a folder that open_clip loads, with a model card.

    With --data, the model is measured before and after, and --measures tells what a probe brings back. Without it, only
    methods that read names alone can run (such as ccup), any name can be forgotten, and no image is measured.

    Args:
        model: shapes-resnet, micro, ViT-B-32/openai, ViT-B-32:FILE, local-dir:DIR, hf-hub:ORG/NAME.
        method: A registered method, or a Python file that declares one.
        set: A hyperparameter as METHOD.NAME=VALUE; may be repeated.
        data: The data set that the classes are from: a registered one, or folder:NAME for your own images.
        others: Further data sets that are measured, separated by commas.
        keep: Without --data, the names to keep, separated by commas; by default the class names of ImageNet.
        measures: Families of further measures, separated by commas, or all.
        out: The folder to make; it must not exist or be empty.
        seed: Of everything random.
        precision: fp32, bf16 or auto.
    """
    from benchmark import api
    from benchmark.cli.measured import before_and_after
    from benchmark.exporting.config import check_exportable
    from benchmark.exporting.folder import check_target
    from benchmark.models.naming import statistics_note
    from methods.common.registry import read_declaration

    if bool(forget.classes) == bool(forget.concept) and not (forget.images and not forget.classes):
        raise BenchmarkError("say what to forget: --classes NAME[,NAME], --concept WORD or --images FILE[,FILE]")
    if measures and data is None:
        raise BenchmarkError(f"--measures {','.join(measures)} needs images: add --data")
    if data is None and others:
        raise BenchmarkError("--others are measured beside --data: add --data")
    if data is not None and keep:
        raise BenchmarkError("--keep is for unlearning without --data: the data set's other names are kept")
    name = read_declaration(Path(method)).card.name if method.endswith(".py") else method
    hparams = hyperparameters(name, set)
    check_exportable(model)
    if note := statistics_note(model):
        print(note, file=sys.stderr)
    check_target(out)
    clip = api.load_model(model, device=hardware.device)

    opened = partial(api.load_dataset, clip=clip, data_dir=folders.data_dir, cache_dir=folders.cache_dir)
    dataset = None if data is None else opened(data)
    result = api.unlearn(
        *(clip, method, dataset),
        classes=forget.classes,
        concept=forget.concept or "",
        forget_images=forget.images,
        others=[opened(other) for other in others],
        names_to_keep=keep or None,
        seed=seed,
        precision=precision,
        cache_dir=folders.cache_dir,
        **hparams,
    )
    print(repr(result).strip("<>"))
    measured = None if dataset is None else api.evaluate(result, measures)
    if measured is None:
        print(
            "no image was given (--data), so nothing is measured: how much is forgotten and what it cost is not known"
        )
    else:
        print(before_and_after(measured))
        if not measures:
            print("what a probe brings back was not measured: add --measures linear_probe,relearning")
    folder = api.export(result, out, evaluation=measured)
    print(f"{out}: the unlearned model; what it is and is not for is in {folder / 'README.md'}")
    print(f'    open_clip.create_model_and_transforms("local-dir:{out}")')
    return 0


def hyperparameters(method: str, settings: tuple[str, ...]) -> dict[str, Any]:
    """The hyperparameters of one method from METHOD.NAME=VALUE.

    Raises:
        BenchmarkError: If one is of another form, or of another method.
    """
    from benchmark.suites.expansion import setting_of

    values: dict[str, Any] = {}
    for setting in settings:
        owner, name, value = setting_of(setting)
        if owner != method:
            raise BenchmarkError(f"setting {setting!r} is of method {owner!r}, but --method is {method!r}")
        if name in values:
            raise BenchmarkError(f"{owner}.{name} is set twice")
        values[name] = value
    return values
