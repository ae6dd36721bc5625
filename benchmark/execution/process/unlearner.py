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
import shutil
import weakref
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.loggers import Logger
from safetensors import SafetensorError
from safetensors.torch import load_file

from benchmark.execution.preview import Watch
from benchmark.execution.process.clocks import OutsideClocks
from benchmark.execution.process.handed_files import HandedFiles
from benchmark.execution.process.job import Answer, Job, put_together
from benchmark.execution.process.processes import Stop, run_processes, started
from benchmark.execution.process.unlearning_child import import_here, synthesise_here, unlearn_here
from benchmark.unlearning.cost import tower_flops
from benchmark.unlearning.unlearn import StepReport, Unlearned
from benchmark.utils.devices import Devices
from benchmark.utils.hardware import FLUSH_DENORMAL, Precision
from datamodules.common.cache import keep_if_possible
from datamodules.common.dataset import Dataset
from datamodules.common.handed import parts_of, write_names
from datamodules.common.kept_files import read_sealed, sweep, temporary_name
from datamodules.common.locks import alone
from datamodules.common.module import ForgetSpec, Retrained
from datamodules.common.request import ForgetRequest
from datamodules.common.synthetic import ImageModel, RawSet, SyntheticRecipe, set_path
from methods.common.card import ContractError, Declaration
from methods.common.clip import Clip


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
        jobs: How many of those that are begun (`begin`) run side by side.
        threads: Of torch on the CPU, in each process; None shares out those of this process.
    """

    cache_dir: Path
    closed: tuple[Path, ...] = ()
    devices: Devices = field(default_factory=Devices)
    jobs: int = 1
    threads: int | None = None

    def __post_init__(self) -> None:
        jobs = self.cache_dir.absolute() / "jobs"
        jobs.mkdir(parents=True, exist_ok=True)
        sweep(jobs)
        self.folder = temporary_name(jobs / "unlearning")
        self.folder.mkdir()
        self.files, self._stop = HandedFiles(self.folder), Stop()
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
        with contextlib.closing(Unlearning(self, work, watch)) as unlearning:
            unlearning.hear(logger, on_step)
            unlearning.run()
            return unlearning.result(logger)

    def begin(self, work: Work, *, on_step: StepReport | None = None, watch: Watch | None = None) -> Unlearning:
        """Let a method unlearn beside this thread's work, as soon as one of the `jobs` places is free.

        Args:
            work: What to do.
            on_step: Called from another thread now and then with the steps done and their number.
            watch: Looks at the accuracy as it falls, in another thread.
        """
        unlearning = Unlearning(self, work, watch)
        unlearning.hear(_Kept(), on_step)
        unlearning.future = self._places.submit(unlearning.run)
        return unlearning

    def stop(self) -> None:
        """End all that was begun and has not ended."""
        if "_places" in vars(self):
            self._stop.ask()
            self._places.shutdown(cancel_futures=True)
            del self._places
            self._stop = Stop()

    @cached_property
    def _places(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.jobs, thread_name_prefix="unlearning")

    def check_imports(self, methods: Sequence[Declaration]) -> None:
        """Check that methods can be imported, in a process of its own.

        Raises:
            ContractError: If one cannot, with its first reason.
        """
        broken: list[tuple[str, str, str]] = []

        def hear(what: str, *message: Any) -> None:
            if what == "broken":
                broken.append(tuple(map(str, message)))  # type: ignore[arg-type]

        with self.files.job_folder() as folder:
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
        with alone(file, waiting=self._stop.check):  # cells side by side may want the same one
            content = read_sealed(file)
            if content is None and (content := self._synthesised(task)) is not None:
                keep_if_possible(file, content)
        return None if content is None else RawSet.from_bytes(content)

    def _synthesised(self, task: Mapping[str, Any]) -> bytes | None:
        with self.files.job_folder() as folder:
            (folder / "synthesis.json").write_text(json.dumps(task), encoding="utf-8")
            run_processes(synthesise_here, folder, stop=self._stop)
            return None if (folder / "other").exists() else (folder / "set.npz").read_bytes()

    def _job(self, work: Work, folder: Path, watch: Watch | None) -> Job:
        names = folder / "names.json"
        write_names(work.dataset, names)
        others = [folder / f"other-{number}.json" for number in range(len(work.others))]
        for dataset, file in zip(work.others, others, strict=True):
            write_names(dataset, file)
        model, encoder = self.files.model(work.clip)
        retrained = ""
        if work.retrained is not None:
            retrained = str(folder / "retrained.pt")
            torch.save({name: value.cpu() for name, value in work.retrained.state.items()}, retrained)
        kind = work.clip.device
        return Job(
            method=str(work.method.path.absolute()),
            name=work.method.card.name,
            hparams=dict(work.hparams),
            regime=work.method.card.regime,
            model=str(model),
            encoder=encoder,
            names=str(names),
            parts={
                part: str(self.files.part(work.dataset, work.request, part))
                for part in parts_of(work.method.card.regime)
            },
            others=tuple(map(str, others)),
            request=work.request.to_dict(),
            seed=work.seed,
            precision=work.precision,
            device=str(kind) if self.devices.count == 1 else kind.type,
            threads=self.threads_each(kind.type),
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

    def threads_each(self, kind: str) -> int:
        """Threads of torch on the CPU in each process that unlearns on a kind of device."""
        here = torch.get_num_threads()
        return self.threads or max(1, here // (self.jobs * (self.devices.count if kind == "cpu" else 1)))


class _Kept:
    """A logger that keeps what it is told for another one."""

    def __init__(self) -> None:
        self.told: list[tuple[dict[str, float], int | None]] = []

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self.told.append((metrics, step))

    def tell(self, logger: Logger | None) -> None:
        """Tell the other one, if there is one."""
        if logger is not None:
            for metrics, step in self.told:
                logger.log_metrics(metrics, step)


class Unlearning:
    """One unlearning: the files of its process, what is heard of that and answered, and what it left.

    It is made, closed and asked for its result by one thread; `run` and the answers may be in another.

    Args:
        unlearner: Whose files and cache it shares.
        work: What to do.
        watch: Looks at the accuracy as it falls.

    Attributes:
        future: The end of `run`, where that is in another thread.
    """

    def __init__(self, unlearner: Unlearner, work: Work, watch: Watch | None) -> None:
        self.future: Future[None] = Future()
        self._unlearner, self._work, self._watch = unlearner, work, watch
        self._logger: Logger | _Kept | None = None
        self._on_step: StepReport | None = None
        self._clocks = OutsideClocks()
        with contextlib.ExitStack() as stack:
            self._folder = stack.enter_context(unlearner.files.job_folder())
            self._job = unlearner._job(work, self._folder, watch)
            stack.enter_context(
                unlearner.files.held([Path(self._job.model).parent, *map(Path, self._job.parts.values())])
            )
            self._job.write(self._folder)
            self._open = stack.pop_all()

    def hear(self, logger: Logger | _Kept | None, on_step: StepReport | None) -> None:
        """Say who is to hear of it, before it runs."""
        self._logger, self._on_step = logger, on_step
        if self._watch is not None:
            self._log(self._watch.first(), 0)

    def run(self) -> None:
        """Do it.

        Raises:
            Exception: Whatever the method raises, by the name of its class.
            ProcessError: If its process died.
        """
        unlearner, count = self._unlearner, self._unlearner.devices.count
        run_processes(
            unlearn_here, self._folder, count=count, listener=self, stop=unlearner._stop, started=self._clocks.started
        )

    def result(self, logger: Logger | None) -> Unlearned:
        """What it left, after it was run; its files are then gone.

        Args:
            logger: Where the loss of each step goes, and went, unless it was kept till now.

        Raises:
            Exception: What `run` raised, if that was in another thread.
            ContractError: If what it left is not what its card declares.
        """
        with contextlib.closing(self):
            if isinstance(self._logger, _Kept):
                self.future.result()
                self._logger.tell(logger)
            work, count = self._work, self._unlearner.devices.count
            answers = [Answer.read(self._folder, index) for index in range(count)]
            done = put_together(work.method.card, work.clip.copy(), answers)
            if count == 1:  # starting together is not counted by several
                retrained = self._job.retrained_seconds if work.method.card.regime == "pretraining" else None
                self._clocks.check(work.method.card.name, done.cost, retrained_seconds=retrained)
        done.cost.load = self._clocks.load
        if logger is not None:
            logger.save()
            logger.finalize("success")
        return done

    def close(self) -> None:
        """Remove its files, if they are still there."""
        self._open.close()

    def __call__(self, what: str, *message: Any) -> Any:
        """Hear one message of its process."""
        if what == "clock":
            self._clocks.note(str(message[0]))
        elif what == "step" and self._on_step is not None:
            self._on_step(int(message[0]), int(message[1]))
        elif what == "metrics" and self._logger is not None:
            for metrics, step in message[0]:
                self._logger.log_metrics({str(name): float(value) for name, value in metrics.items()}, step)
        elif what in ("look", "synthesis"):
            with self._clocks.answering():
                return self._look(*message) if what == "look" else self._synthesis(*message)
        return None

    def _look(self, step: int, refused: Sequence[str]) -> None:
        if self._watch is None:
            return
        with contextlib.suppress(OSError, SafetensorError):
            tensors = load_file(self._folder / "look.safetensors")
            self._log(self._watch.see(tensors, tuple(map(str, refused))), int(step))

    def _synthesis(self, classifier: str, targets: Sequence[int], recipe: Mapping[str, Any]) -> str | None:
        chosen, indices = SyntheticRecipe(**recipe), [int(target) for target in targets]
        forget_set = self._unlearner.synthetic_set(self._work, self._job, str(classifier), indices, chosen)
        if forget_set is None:
            return None
        self._clocks.add(forget_set.spent)
        file = self._folder / f"synthetic-{len(list(self._folder.glob('synthetic-*')))}.npz"
        file.write_bytes(forget_set.to_bytes())
        return str(file)

    def _log(self, seen: dict[str, float], step: int) -> None:
        if self._logger is not None and seen:
            self._logger.log_metrics(seen, step=step)
