"""What code made a number: the digest in a cell's key, and one for each family of measures in its record.

| what | where it counts |
|---|---|
| a method, its base, the Trainer loop, sampling, synthetic images, costs, loading a model | the cell: its key |
| reading and drawing data | the data set's revision: the key |
| a family of measures, features and what measures are given | the family's digest in the record |
| training retrained and shadow models | the key of `retrain`, the families that compare with them, the models' files |
| progress, logs, records, tables, reports, commands, messages | nowhere |

Costs are numbers of a record that no later measure can make again, so what counts them is in the key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from benchmark.evaluation.families import BASE, EVERY, SCORES
from benchmark.models.registry import PRETRAINING
from datamodules.common.card import DEVELOPMENT_SCHEME
from datamodules.common.code_closure import DIGITS, KEEPING, project_code
from datamodules.common.errors import BenchmarkError
from methods.common.registry import NOT_COUNTED, Registry

UNLEARNS = (
    "benchmark.execution.session:work_of",
    "benchmark.execution.process.unlearner:Unlearner",
    "benchmark.execution.process.unlearning_child:unlearn_here",
    "benchmark.execution.process.unlearning_child:synthesise_here",
    "benchmark.execution.process.job:put_together",
    "benchmark.records.cell:random_seed",
    "benchmark.utils.randomness:isolated",
    "datamodules.common.dataset:Dataset",
    "datamodules.common.dataset:Split",
    "datamodules.common.chosen_images:serving",
    "datamodules.common.image_request:ImagesRequest",
    "datamodules.common.images:ImageArray",
    "datamodules.common.images:Preprocessing",
    "datamodules.common.request:ForgetRequest",
    "methods.common.clip:Clip",
)
"""Where the unlearning of every cell begins, and what it is handed: objects that no import statement names."""
SHOWS = (
    *("benchmark.utils.trainer:quiet_lightning", "benchmark.unlearning.looks", "benchmark.execution.preview"),
    *(
        "benchmark.execution.process.unlearning_child:Reports",
        "benchmark.execution.process.unlearning_child:RemoteLooks",
    ),
    *("benchmark.execution.process.unlearner:Unlearning", "benchmark.execution.process.unlearner:_Kept"),
    *("benchmark.execution.process.clocks", "benchmark.execution.process.unlearning_child:import_here"),
    *(
        "benchmark.execution.process.processes",
        "benchmark.execution.process.child",
        "benchmark.execution.process.closed",
    ),
    *("methods.common.registry", "methods.common.plugins"),
)
"""Parts of it that show, start, close and find, and change no number."""
LOADS = {"compact": "benchmark.models.compact:load_compact", "blip": "benchmark.models.blip:load_blip"}
"""What loads a model, by `parse_model`'s architecture; for all others:"""
OF_A_PART = (
    "benchmark.execution.sequences:Sequences",
    "datamodules.common.narrowed:NarrowedDataset",
    "datamodules.common.narrowed:FewerTestImages",
)
"""What counts beside it for requests of a sequence or a group, and where a part of the test images is measured."""
LOADS_OPEN_CLIP, NOT_OPEN_CLIP = (
    "benchmark.models.loading:load_clip",
    ("benchmark.models.blip", "benchmark.models.blip_folder"),
)

MEASURES_ALL = (
    "benchmark.execution.runner:evaluate_cell",
    "benchmark.evaluation.context:Context",
    "benchmark.evaluation.embeddings:EmbeddingStore",
)
"""What every family is given that looks at a model."""
NOT_THE_FAMILY = (
    *KEEPING,
    "benchmark.records.record:Record",
    "benchmark.records.kept_outputs:Outputs",
    "benchmark.evaluation.families:FAMILIES",
    "benchmark.evaluation.families:PARTS",
    "benchmark.evaluation.families:EVERY",
    "benchmark.evaluation.families:Family",
    "benchmark.evaluation.evaluate:Evaluation",
    "benchmark.evaluation.evaluate:scores",
    *SHOWS,
    *UNLEARNS,
)
"""What a family's digest leaves out: other families, what is kept, and what is in the key anyway."""


def unlearning_code(registry: Registry, method: str, model: str, *, of_a_part: bool = False) -> str:
    """The digest of the code with which a method unlearns from a model: a part of the cell's key.

    Args:
        registry: The methods.
        method: Registry name.
        model: As `--model` names it.
        of_a_part: Whether it is of a sequence or a group, or a part of the test images is measured.
    """
    from benchmark.models.naming import parse_model

    loads = LOADS.get(parse_model(model)[0])
    left_out = (*NOT_COUNTED, *SHOWS, *(() if loads else NOT_OPEN_CLIP))
    starts = (*UNLEARNS, loads or LOADS_OPEN_CLIP, *(OF_A_PART if of_a_part else ()))
    return _mixed(registry.source_hash(method), project_code().digest(*starts, stops=left_out))


def family_code(family: str, dataset: str) -> str:
    """The digest of the code of a family of measures, and of the data files of this project that it reads.

    Args:
        family: A name of `EVERY`, `BASE` or `SCORES`.
        dataset: Registry name of the data set on which it measures.
    """
    if family in (BASE, SCORES):
        start = f"benchmark.evaluation.evaluate:{'Evaluation' if family == BASE else 'scores'}"
        starts: tuple[str, ...] = (start, *(MEASURES_ALL[2:] if family == BASE else ()))
        return project_code().digest(*starts, stops=[stop for stop in NOT_THE_FAMILY if stop != start])
    about = EVERY[family]
    starts = (f"benchmark.evaluation.measures.{family}", *(() if about.from_numbers else MEASURES_ALL))
    code = project_code().digest(*starts, stops=NOT_THE_FAMILY)
    return code if not about.data else _mixed(code, _file_content(about.data, dataset))


@dataclass
class Digests:
    """The digests of today's code for cells of one run.

    Attributes:
        data_dir: Where real data sets are; None where they are not asked for.
        cache_dir: Where decoded images are kept.
        device: Where retrained and shadow models are trained.
        trainings: Whether to look at how they are trained: their data sets are opened for it.
    """

    data_dir: Path | None
    cache_dir: Path
    device: str = "auto"
    trainings: bool = True
    _trainings: dict[tuple[str, str], str | None] = field(default_factory=dict)

    def code(self, registry: Registry, method: str, model: str, *, of_a_part: bool = False) -> str:
        """A cell's `code`: `unlearning_code`, and for a retrained model how it is trained."""
        code = unlearning_code(registry, method, model, of_a_part=of_a_part)
        if registry.declaration(method).card.regime != PRETRAINING:
            return code
        return _mixed(code, self.training(model) or "")

    def families(self, names: Iterable[str], dataset: str, model: str) -> dict[str, str]:
        """The digest of each family of measures as a record keeps it: `CODE`, or `CODE+TRAINING`.

        A family that reads the numbers of others has theirs in its own.

        Args:
            names: The families of one record.
            dataset: On which they measure.
            model: From which was unlearned.
        """
        present = set(names)
        code = {name: family_code(name, dataset) for name in present}
        digests = {}
        for name in sorted(present):
            about = EVERY.get(name)
            read = sorted(present & set((BASE,) if about is None else about.reads) - {name})
            digests[name] = _mixed(code[name], *(code[dependency] for dependency in read)) if read else code[name]
            if about is not None and {"retrained", "shadows"} & set(about.needs):
                digests[name] += f"+{self.training(model) or ''}"
        return digests

    def training(self, model: str) -> str | None:
        """The digest of how models like this one are trained; None if it has no recipe or its data are not here."""
        if not self.trainings:
            return None
        key = (model, self.device)
        if key not in self._trainings:
            self._trainings[key] = self._training(model)
        return self._trainings[key]

    def _training(self, model: str) -> str | None:
        from benchmark.pretraining.identity import training_identity
        from benchmark.pretraining.retrained import Retraining, recipe_of
        from benchmark.utils.hardware import resolve_precision

        recipe = recipe_of(model)
        if recipe is None:
            return None
        try:
            datasets = Retraining(recipe, self.data_dir, self.cache_dir, self.device).datasets
            precision = resolve_precision("auto", self.device)
        except BenchmarkError:
            return None
        revisions = [dataset.revision for dataset in datasets]
        return training_identity(recipe, revisions=revisions, precision=precision)[:DIGITS]


def _mixed(*parts: str) -> str:
    return sha256(" ".join(parts).encode()).hexdigest()[:DIGITS]


def _file_content(folder: str, dataset: str) -> str:
    """A YAML file of this project by what it says; comments do not count."""
    path = project_code().root / folder / f"{dataset.removeprefix(DEVELOPMENT_SCHEME)}.yaml"
    return _said(path.read_text(encoding="utf-8")) if path.is_file() else ""


@cache
def _said(text: str) -> str:
    """What a text in YAML says: read once, however many records ask."""
    import json

    import yaml

    content: Any = yaml.safe_load(text)
    return json.dumps(content, sort_keys=True, default=str)
