"""Unlearning in a process of its own: what goes into it, what is heard of it, and what is taken out of it.

    this process                                   the process that unlearns
    model as it came, parts of the train split  →  method's code is imported, then gets them, and edits
    looks, synthetic sets of the model as it was ↔ asks
    own CLIP ← declared tensors, checked        ←  tensors, a report

No code of a method is ever imported here. What a method does to its process ends with it.
"""

from __future__ import annotations

import contextlib
import json
import math
import pickle
import shutil
import tempfile
import time
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import Logger
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from benchmark.execution.preview import Watch
from benchmark.execution.process.job import Answer, Job, put_together
from benchmark.execution.process.processes import run_processes, started
from benchmark.execution.process.unlearning_child import import_here, synthesise_here, unlearn_here
from benchmark.unlearning.cost import tower_flops
from benchmark.unlearning.unlearn import StepReport, Unlearned
from benchmark.utils.devices import Devices
from benchmark.utils.hardware import FLUSH_DENORMAL, Precision
from datamodules.common.cache import keep_if_possible
from datamodules.common.dataset import Dataset
from datamodules.common.errors import BenchmarkError
from datamodules.common.handed import parts_of, write_names, write_part
from datamodules.common.kept_files import new_file, read_sealed, sweep, temporary_name
from datamodules.common.module import ForgetSpec, Retrained
from datamodules.common.request import ForgetRequest
from datamodules.common.synthetic import ImageModel, RawSet, SyntheticRecipe, set_path
from methods.common.card import ContractError, Declaration
from methods.common.clip import Clip
from methods.common.synthetic_images import encoder_key

KEPT_PARTS = 4
"""Parts of train splits whose files are kept for the cells that follow; our choice: those of one or two requests."""
CLOCK_SECONDS, CLOCK_SHARE = 2.0, 0.2
"""How far the clock of a process that unlearned may be from ours, our choice: on a busy machine messages come late."""


@dataclass(frozen=True)
class Work:
    """One unlearning.

    Attributes:
        method: What the registry knows of the method.
        hparams: Its hyperparameters, all of them.
        clip: The CLIP as it came; stays as it is.
        dataset: Where the request is from.
        request: What to forget.
        seed: Of everything random.
        others: Data sets of which the method may know the names.
        precision: "fp32" or "bf16".
        retrained: The model trained without the forget data, for methods of the data regime `pretraining`.
    """

    method: Declaration
    hparams: Mapping[str, Any]
    clip: Clip
    dataset: Dataset
    request: ForgetRequest
    seed: int
    others: Sequence[Dataset] = ()
    precision: Precision = "fp32"
    retrained: Retrained | None = None


@dataclass
class Unlearner:
    """Starts processes that unlearn; files that several of them are handed are written once.

    Attributes:
        cache_dir: Synthetic sets are kept there, and the files that processes are handed, until this object goes.
        closed: Further folders of which no method may open anything: real data, results.
        devices: Over which one unlearning is spread.
    """

    cache_dir: Path
    closed: tuple[Path, ...] = ()
    devices: Devices = field(default_factory=Devices)
    _models: OrderedDict[int, _KeptModel] = field(default_factory=OrderedDict)
    _parts: OrderedDict[tuple[Any, ...], Path] = field(default_factory=OrderedDict)
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(2**62)))

    def __post_init__(self) -> None:
        jobs = self.cache_dir.absolute() / "jobs"
        jobs.mkdir(parents=True, exist_ok=True)
        sweep(jobs)
        self.folder = temporary_name(jobs / "unlearning")
        self.folder.mkdir()
        started()
        self._finalizer = weakref.finalize(self, shutil.rmtree, self.folder, ignore_errors=True)

    def unlearn(
        self,
        work: Work,
        *,
        logger: Logger | None = None,
        on_step: StepReport | None = None,
        watch: Watch | None = None,
    ) -> Unlearned:
        """Let a method unlearn, from the model as it came.

        Args:
            work: What to do.
            logger: Where the loss of each step goes.
            on_step: Called now and then with the steps done and their number.
            watch: Looks at the accuracy as it falls.

        Raises:
            Exception: Whatever the method raises, by the name of its class.
            ContractError: If what it left is not what its card declares.
            ProcessError: If its process died.
        """
        with self._job_folder() as folder:
            job = self._job(work, folder, watch)
            job.write(folder)
            hearing = _Hearing(self, work, job, folder, logger, on_step, watch)
            run_processes(unlearn_here, folder, count=self.devices.count, listener=hearing)
            answers = [Answer.read(folder, index) for index in range(self.devices.count)]
            done = put_together(work.method.card, work.clip.copy(), answers)
            hearing.check_clock(done.cost.seconds)
        if logger is not None:
            logger.save()
            logger.finalize("success")
        return done

    def check_imports(self, methods: Sequence[Declaration]) -> None:
        """Check that methods can be imported, in a process of its own.

        Raises:
            ContractError: If one cannot, with its first reason.
        """
        broken: list[tuple[str, str, str]] = []

        def hear(what: str, *message: Any) -> None:
            if what == "broken":
                broken.append(tuple(map(str, message)))  # type: ignore[arg-type]

        with self._job_folder() as folder:
            files = {method.card.name: str(method.path.absolute()) for method in methods}
            task = {"methods": files, "closed": self._closed()}
            (folder / "methods.json").write_text(json.dumps(task), encoding="utf-8")
            run_processes(import_here, folder, listener=hear)
        for name, kind, message in broken:
            raise ContractError(message if kind == "ContractError" else f"method {name!r}: {kind}: {message}")

    def synthetic_set(
        self, work: Work, job: Job, classifier: str, targets: list[int], recipe: SyntheticRecipe
    ) -> RawSet | None:
        """A synthetic forget set of the model as it came, from the cache if it was made before.

        It is made in a process that no method's code has entered, so that no method can leave another one a set of its
        own making.

        Args:
            work: Whose model and names.
            job: The files that its process was handed.
            classifier: Identifies the classifier that the method has built.
            targets: Indices of the names.
            recipe: How the images are made.

        Returns:
            The set; None where the classifier is not that of the model and the names.
        """
        spec = ForgetSpec.of(work.dataset, work.request, work.others)
        clip = work.clip
        with torch.no_grad():
            scale = float(clip.logit_scale)
        stand_in = ImageModel(clip.encode_image, next(clip.model.parameters()), scale, clip.preprocessing, job.encoder)
        file = set_path(self.cache_dir, stand_in, classifier, targets, recipe)
        content = read_sealed(file)
        if content is not None:
            return RawSet.from_bytes(content)
        task = {
            "model": job.model,
            "encoder": job.encoder,
            "names": spec.all_names,
            "templates": spec.templates,
            "classifier": classifier,
            "targets": targets,
            "recipe": asdict(recipe),
            "device": str(clip.device),
            "threads": job.threads,
            "flops_each": job.flops_each,
            "flush_denormal": job.flush_denormal,
        }
        with self._job_folder() as folder:
            (folder / "synthesis.json").write_text(json.dumps(task), encoding="utf-8")
            run_processes(synthesise_here, folder)
            if (folder / "other").exists():
                return None
            content = (folder / "set.npz").read_bytes()
        keep_if_possible(file, content)
        return RawSet.from_bytes(content)

    def _job(self, work: Work, folder: Path, watch: Watch | None) -> Job:
        names = folder / "names.json"
        write_names(work.dataset, names)
        others = [folder / f"other-{number}.json" for number in range(len(work.others))]
        for dataset, file in zip(work.others, others, strict=True):
            write_names(dataset, file)
        model, encoder = self._model(work.clip)
        retrained = ""
        if work.retrained is not None:
            retrained = str(folder / "retrained.pt")
            torch.save({name: value.cpu() for name, value in work.retrained.state.items()}, retrained)
        kind = work.clip.device
        threads = torch.get_num_threads()
        return Job(
            method=str(work.method.path.absolute()),
            name=work.method.card.name,
            hparams=dict(work.hparams),
            regime=work.method.card.regime,
            model=str(model),
            encoder=encoder,
            names=str(names),
            parts={part: str(self._part(work, part)) for part in parts_of(work.method.card.regime)},
            others=tuple(map(str, others)),
            request=work.request.to_dict(),
            seed=work.seed,
            precision=work.precision,
            device=str(kind) if self.devices.count == 1 else kind.type,
            threads=max(1, threads // self.devices.count) if kind.type == "cpu" else threads,
            flush_denormal=FLUSH_DENORMAL,
            flops_each=tower_flops(work.clip),
            retrained=retrained,
            retrained_seconds=0.0 if work.retrained is None else work.retrained.seconds,
            look_seconds=-1.0 if watch is None else watch.seconds,
            look_share=0.0 if watch is None else watch.share,
            closed=self._closed(),
        )

    def _closed(self) -> tuple[str, ...]:
        return tuple(str(path.absolute()) for path in (self.cache_dir, *self.closed))

    def _model(self, clip: Clip) -> tuple[Path, str]:
        """The file of a CLIP as it came, and the key of its image encoder; written once while the CLIP lives."""
        model_file = self._models.get(id(clip.model))
        if model_file is None or model_file.model() is not clip.model:
            folder = self.folder / f"model-{next(self._numbers)}"
            folder.mkdir()
            _write_model(clip, folder / "clip.pt")
            model_file = self._models[id(clip.model)] = _KeptModel(weakref.ref(clip.model), folder, encoder_key(clip))
            while len(self._models) > 2:
                shutil.rmtree(self._models.popitem(last=False)[1].folder, ignore_errors=True)
        return model_file.folder / "clip.pt", model_file.encoder

    def _part(self, work: Work, part: Any) -> Path:
        dataset = work.dataset
        key = (dataset.name, dataset.revision, dataset.framing, work.request, part)
        if key not in self._parts:
            while len(self._parts) >= KEPT_PARTS:
                shutil.rmtree(self._parts.popitem(last=False)[1], ignore_errors=True)
            folder = self.folder / f"part-{next(self._numbers)}"
            write_part(dataset, work.request, part, folder)
            self._parts[key] = folder
        self._parts.move_to_end(key)
        return self._parts[key]

    @contextlib.contextmanager
    def _job_folder(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(prefix="job-", dir=self.folder))
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True)
class _KeptModel:
    model: Callable[[], nn.Module | None]
    folder: Path
    encoder: str


def _write_model(clip: Clip, file: Path) -> None:
    """Write a CLIP for other processes of this machine.

    Raises:
        BenchmarkError: If a part of it is of a kind that cannot be written.
    """
    size = sum(value.numel() * value.element_size() for value in clip.model.state_dict().values())
    try:
        with new_file(file, size_bytes=size) as stream:
            torch.save(clip, stream)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise BenchmarkError(
            f"model {clip.name!r} cannot be handed to the process that unlearns ({error}): its tokenizer and modules "
            "must be of classes and functions at the top level of a module"
        ) from error


@dataclass
class _Hearing:
    """What is heard of one process that unlearns, and answered."""

    unlearner: Unlearner
    work: Work
    job: Job
    folder: Path
    logger: Logger | None
    on_step: StepReport | None
    watch: Watch | None
    _clock: dict[str, float] = field(default_factory=dict)
    _answering: float = 0.0
    _added: float = 0.0

    def __post_init__(self) -> None:
        if self.watch is not None:
            self._log(self.watch.first(), 0)

    def __call__(self, what: str, *message: Any) -> Any:
        """Hear one message."""
        if what == "clock":
            self._clock.setdefault(str(message[0]), time.perf_counter())
        elif what == "step" and self.on_step is not None:
            self.on_step(int(message[0]), int(message[1]))
        elif what == "metrics" and self.logger is not None:
            for metrics, step in message[0]:
                self.logger.log_metrics({str(name): float(value) for name, value in metrics.items()}, step)
        elif what in ("look", "synthesis"):
            start = time.perf_counter()
            try:
                return self._look(*message) if what == "look" else self._synthesis(*message)
            finally:
                if "end" not in self._clock:
                    self._answering += time.perf_counter() - start
        return None

    def check_clock(self, seconds: float) -> None:
        """Check the seconds that a process says it took against our own clock.

        Raises:
            ContractError: If they are far apart.
        """
        if self.unlearner.devices.count > 1:
            return  # starting together is not counted there
        begin, end = self._clock.get("begin", math.nan), self._clock.get("end", math.nan)
        retrained = self.job.retrained_seconds if self.work.method.card.regime == "pretraining" else 0.0
        outside_seconds = end - begin - self._answering + self._added
        allowed = CLOCK_SECONDS + CLOCK_SHARE * outside_seconds + retrained
        if not abs(seconds - outside_seconds) <= allowed:
            raise ContractError(
                f"the process of method {self.work.method.card.name!r} says that it took {seconds:.1f} s; by the clock "
                f"outside it took {outside_seconds:.1f} s"
            )

    def _look(self, step: int, refused: Sequence[str]) -> None:
        if self.watch is None:
            return
        with contextlib.suppress(OSError, SafetensorError):
            self._log(self.watch.see(load_file(self.folder / "look.safetensors"), tuple(map(str, refused))), int(step))

    def _synthesis(self, classifier: str, targets: Sequence[int], recipe: Mapping[str, Any]) -> str | None:
        chosen, indices = SyntheticRecipe(**recipe), [int(target) for target in targets]
        forget_set = self.unlearner.synthetic_set(self.work, self.job, str(classifier), indices, chosen)
        if forget_set is None:
            return None
        self._added += forget_set.seconds
        file = self.folder / f"synthetic-{len(list(self.folder.glob('synthetic-*')))}.npz"
        file.write_bytes(forget_set.to_bytes())
        return str(file)

    def _log(self, seen: dict[str, float], step: int) -> None:
        if self.logger is not None and seen:
            self.logger.log_metrics(seen, step=step)
