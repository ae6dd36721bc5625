"""The options that several commands share: each is named, typed, bounded and explained here, once."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from benchmark.cli.arguments import Option, title_of
from benchmark.cli.listing import file_or_folder, models, paths, seeds, settings, words
from benchmark.utils.folders import cache_folder
from benchmark.utils.table import Format
from datamodules.common.documents import MOST_NUMBER
from datamodules.common.errors import BenchmarkError

if TYPE_CHECKING:
    from benchmark.suites.expansion import Plan
    from benchmark.suites.where import Where

Name = Annotated[str, Option("NAME")]
NameList = Annotated[tuple[str, ...], Option("NAME,...", words)]
Models = Annotated[tuple[str, ...], Option("NAME", models)]
Files = Annotated[tuple[Path, ...], Option("FILE", paths)]
SettingList = Annotated[tuple[str, ...], Option("METHOD.NAME=VALUE", settings)]
Folder = Annotated[Path, Option("DIR", file_or_folder)]
File = Annotated[Path, Option("FILE", file_or_folder)]


@dataclass(frozen=True)
class Plugins:
    """Further methods and data sets.

    Attributes:
        plugin: Files of further methods or data sets, separated by commas; may be repeated.
    """

    plugin: Files = ()


@dataclass(frozen=True)
class Chosen:
    """Which records.

    Attributes:
        suite: Only the records of this suite.
    """

    suite: Name | None = None


@dataclass(frozen=True)
class Selection:
    """What to run.

    Attributes:
        suite: A suite of the package, or a YAML file.
        methods: Names, separated by commas; by default the suite's.
        seeds: Seeds, separated by commas; by default the suite's.
        model: Models, separated by commas: shapes-resnet, ViT-B-32/openai, ViT-B-16:FILE, local-dir:DIR,
            hf-hub:ORG/NAME; by default the suite's.
        tokenizer: The folder of a tokenizer, for models that would fetch theirs from the Hugging Face hub.
        set: A hyperparameter as METHOD.NAME=VALUE; may be repeated.
        tuned: With the values that `tune` found alone, on boards of their own; small CLIPs only.
        untuned: With the values that the methods declare, also where the suite asks for tuned ones.
        tuned_values: The same with the values of a file that `tune --out` wrote.
        shard: i/n: only the i-th of n parts of the cells.
    """

    suite: Name = "quick"
    methods: NameList = ()
    seeds: Annotated[tuple[int, ...], Option("N,...", seeds)] = ()
    model: Models = ()
    tokenizer: Folder | None = None
    set: SettingList = ()
    tuned: bool = False
    untuned: bool = False
    tuned_values: File | None = None
    shard: Annotated[str, Option("I/N")] | None = None

    def plan(
        self,
        places: Places,
        device: str,
        precision: str | None = None,
        *,
        plugins: tuple[Path, ...] = (),
        keys: tuple[str, ...] = (),
        elsewhere: bool = False,
        read_again: bool = False,
    ) -> Plan:
        """The checked plan: `make_plan` says what is given beside the selection.

        Raises:
            BenchmarkError: On anything that is wrong.
        """
        from benchmark.suites.expansion import make_plan

        return make_plan(
            self.suite,
            places.where(device, elsewhere=elsewhere),
            places.results,
            methods=self.methods,
            seeds=self.seeds,
            models=self.model,
            settings=self.set,
            plugins=plugins,
            precision=precision,
            shard=self.shard,
            keys=keys,
            tokenizer=self.tokenizer,
            tuned=self._tuned(),
            read_again=read_again,
        )

    def _tuned(self) -> bool | Path | None:
        """What `make_plan` takes.

        Raises:
            BenchmarkError: If both are asked for.
        """
        if self.untuned and (self.tuned or self.tuned_values):
            raise BenchmarkError("--untuned and --tuned contradict each other: leave out one")
        return self.tuned_values or self.tuned or (False if self.untuned else None)


@dataclass(frozen=True)
class RunSelection(Selection):
    """What to run.

    Attributes:
        all: Every registered method; the same as naming none.
        keys: Only the cells whose keys begin so.
    """

    all: bool = False
    keys: Annotated[tuple[str, ...], Option("KEY,...", words)] = ()


@dataclass(frozen=True)
class Forget:
    """What to forget.

    Attributes:
        classes: Names of the classes to forget, separated by commas; may be repeated.
        concept: A word of captions to forget, in the place of classes.
        images: Training images to forget, by path or row, separated by commas; may be repeated. --classes or --concept
            then only name what they show, for methods that need a name.
    """

    classes: NameList = ()
    concept: str | None = None
    images: Annotated[tuple[str, ...], Option("FILE,...", words)] = ()


@dataclass(frozen=True)
class Records:
    """Where.

    Attributes:
        results: The folder of records, logs and failures.
    """

    results: Folder = Path("results/runs")


@dataclass(frozen=True)
class Folders:
    """Where.

    Attributes:
        data_dir: The folder of the real data sets.
        cache_dir: The folder of decoded images and features; by default the user's cache.
    """

    data_dir: Folder | None = None
    cache_dir: Folder | None = None

    @property
    def cache(self) -> Path:
        """The folder of decoded images and features."""
        return cache_folder(self.cache_dir)

    def where(self, device: str, *, elsewhere: bool = False) -> Where:
        """These folders with a device."""
        from benchmark.suites.where import Where

        return Where(self.data_dir, self.cache, device, elsewhere)


@dataclass(frozen=True)
class Places(Folders, Records):
    """Where.

    Attributes:
        skip_unreadable: Leave out images of your own that cannot be read; records count them.
    """

    skip_unreadable: bool = False

    def where(self, device: str, *, elsewhere: bool = False) -> Where:
        """These folders with a device."""
        return replace(super().where(device, elsewhere=elsewhere), skip_unreadable=self.skip_unreadable)


@dataclass(frozen=True)
class Device:
    """How it runs.

    Attributes:
        device: auto, cpu, cuda or cuda:N.
    """

    device: Name = "auto"


@dataclass(frozen=True)
class DeviceOfRecord:
    """How it runs.

    Attributes:
        device: auto, cpu, cuda or cuda:N; by default the kind of device in the record.
    """

    device: Name | None = None


@dataclass(frozen=True)
class Hardware(Device):
    """How it runs.

    Attributes:
        precision: fp32, bf16 or auto; by default the suite's.
    """

    precision: Name | None = None


@dataclass(frozen=True)
class Execution(Hardware):
    """How it runs.

    Attributes:
        force: Run also what is done, and read again all files of data sets whose content is remembered.
        jobs: Methods that unlearn side by side, each in a process with its share of the threads; by default as many
            as there are cores and memory, and one on a GPU.
        executor: local, processes of this machine; ray, one task a cell on this machine or a cluster.
        address: HOST:PORT of a Ray cluster, or auto for the one that runs here; by default a new one on this machine.
        cpus_per_cell: With ray, CPUs (and threads) of each cell; by default 1.
        gpus_per_cell: With ray, GPUs of each cell, such as 0.5; by default 1 with --device cuda, else 0.
        devices: Devices of this machine over which each cell's unlearning is spread, for a cell that is too large for
            one: a process each, batches split, in-batch negatives gathered; the result is the same but for rounding.
        strategy: How they work together: ddp, Lightning's; the default with several devices.
    """

    force: bool = False
    jobs: Annotated[int, Option("N", low=1, high=1024)] | None = None
    executor: Literal["local", "ray"] = "local"
    address: Annotated[str, Option("HOST:PORT")] | None = None
    cpus_per_cell: Annotated[int, Option("N", low=1, high=4096)] | None = None
    gpus_per_cell: Annotated[float, Option("N", low=0, high=64)] | None = None
    devices: Annotated[int, Option("N", low=1, high=1024)] = 1
    strategy: Name | None = None


@dataclass(frozen=True)
class Kept:
    """What is kept.

    Attributes:
        wandb: Weights & Biases logging; offline needs no account.
        logger: Any Lightning logger: csv, tensorboard, mlflow, comet, the path of a class, a mapping such as
            {class_path: mlflow, init_args: {tracking_uri: URI}}, or a YAML file with one; may be repeated. By default
            the suite's, else csv.
        save_weights: Keep the edited tensors of each cell beside its record (KEY.safetensors), for `export`; cells
            that are done without them run again, their records stay.
        no_outputs: Keep no outputs of test images beside records (KEY.npz, two bytes a number): `measure` then has to
            unlearn again.
    """

    wandb: Literal["off", "offline", "online"] = "off"
    logger: Annotated[tuple[str, ...], Option("NAME", tuple)] = ()
    save_weights: bool = False
    no_outputs: bool = False


@dataclass(frozen=True)
class TableOptions:
    """How it is shown.

    Attributes:
        format: A table for the terminal, Markdown, CSV, JSON, LaTeX (booktabs) or HTML.
    """

    format: Format = "table"


Seed = Annotated[int, Option("N", low=0, high=MOST_NUMBER, title=title_of(Device))]
PrecisionName = Annotated[str, Option("NAME", title=title_of(Device))]
Tolerance = Annotated[float, Option(low=0, high=1000)]
WhereFile = Annotated[Path, Option("FILE", file_or_folder, title=title_of(Records))]
WhereFolder = Annotated[Path, Option("DIR", file_or_folder, title=title_of(Records))]
