"""The model card: what was forgotten, by what, what it scored, what a probe brings back, what it must not be used for.

Everything is read from records: the cell's own, and those of the original and of the retrained model beside it. What
they do not hold is "not measured", never a guess.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from benchmark.evaluation.catalogue import find
from benchmark.evaluation.families import FAMILIES
from benchmark.exporting.config import ADDED_MODULE
from benchmark.exporting.markdown import plain
from benchmark.exporting.origin import Origin
from benchmark.records.record import Metric, Record
from benchmark.utils.table import Table, ends_text, number_text
from datamodules.common.card import MEMORY_SCHEME
from datamodules.common.image_request import read_request
from methods.common.card import MethodCard

NOT_MEASURED = "not measured"
PROBES = ("linear_probe", "knn_probe", "paraphrases", "soft_prompt", "relearning")
"""The families that ask what is left beneath the surface."""
_SCORES = ("forget/acc1", "retain/acc1", "forget/mean_recall", "retain/mean_recall")
_COMPOSITE = ("score/kravets", "score/harmonic", "score/robust", "score/retrain_gap")
_HEADS = {"forget": "to forget", "retain": "to retain", "score": "score"}
MetricsByName = Mapping[str, Metric]


@dataclass(frozen=True)
class CardWriter:
    """Writes the card of one exported model.

    Attributes:
        record: Of the cell.
        method: The method's card.
        origin: Where the model comes from.
        before: The original's metrics; None where its record is not at hand.
        retrained: Those of the model that never saw the forget data; None likewise.
        trunk: The module of the folder that must be imported first; None where open_clip needs none.
        hub: The repository of the hub that the folder goes to; empty where it stays here.
        added: Whether the method left modules that open_clip alone does not build.
    """

    record: Record
    method: MethodCard
    origin: Origin
    before: MetricsByName | None = None
    retrained: MetricsByName | None = None
    trunk: str | None = None
    hub: str = ""
    added: bool = False

    def write(self) -> str:
        """The card, Markdown with a YAML head."""
        sections = (
            self._title(),
            _section("What was forgotten, and by what", self._facts()),
            _section("What it scored", self._scores()),
            _section("What a probe brings back", self._probes()),
            _section("What it must not be used for", self._warnings()),
            _section("How to load it", usage(self.trunk, self.hub, added=self.added)),
            _section("Where the numbers are from", self._provenance()),
        )
        return f"{self._head()}\n" + "\n".join(sections)

    def _head(self) -> str:
        about: dict[str, Any] = {"license": self.origin.licence}
        if self.origin.licence == "other":
            about["license_name"] = "that-of-the-original-model"
        about |= {"library_name": "open_clip", "pipeline_tag": "zero-shot-image-classification"}
        if self.origin.hub:  # the hub links it: a name that is none of its models would lead nowhere, or elsewhere
            about |= {"base_model": self.origin.hub, "base_model_relation": "finetune"}
        about |= {
            "tags": ["clip", "open_clip", "machine-unlearning", self.record.cell["method"]],
        }
        return f"---\n{yaml.safe_dump(about, sort_keys=False, allow_unicode=False)}---\n"

    @property
    def _forgotten(self) -> str:
        return plain(read_request(self.record.cell["request"]))

    def _title(self) -> str:
        cell = self.record.cell
        base, method = plain(self.origin.base), plain(cell["method"])
        idle = self.method.edits == ("nothing",) and not self.method.adds
        what = f"{base} as it came" if idle else f"{base} after forgetting {self._forgotten} ({method})"
        return (
            f"# {what}\n\n"
            f"An experiment in machine unlearning: method {method} on a CLIP, measured by clip-unlearning-benchmark. "
            "The class or concept is hidden or weakened, **not provably removed**; read below what brings it back.\n"
        )

    def _facts(self) -> str:
        cell, cost = self.record.cell, self.record.cost
        settings = ", ".join(f"{plain(name)} = {plain(value)}" for name, value in sorted(cell["hparams"].items()))
        seconds, size = cost.get("unlearn_seconds"), cost.get("edited_bytes")
        rows = [
            ("forgotten", f"{self._forgotten} of data set {plain(cell['dataset'])}"),
            ("original model", plain(self.origin.base)),
            ("method", f"{plain(cell['method'])}: {plain(self.method.title)} ({plain(self.method.paper)})"),
            ("data that it read", plain(self.record.provenance.get("regime", self.method.regime))),
            (
                "parts that it may edit",
                plain(", ".join((*self.method.edits, *(f"added at {at}" for at in self.method.adds)))),
            ),
            ("hyperparameters", settings or "none"),
            ("seed", plain(cell["seed"])),
            ("unlearning took", NOT_MEASURED if seconds is None else f"{seconds:.3g} s"),
            ("tensors that differ", NOT_MEASURED if size is None else f"{size / 1e6:.2f} MB"),
        ]
        return "\n".join(f"- {name}: {value}" for name, value in rows)

    def _scores(self) -> str:
        metrics = self.record.metrics
        others = sorted(name for name in metrics if name.startswith("other/") and name.count("/") == 2)
        shown = [name for name in (*_SCORES, *others, *_COMPOSITE) if name in metrics]
        if not shown:
            return "Nothing was measured: the method read names alone, and no images were given."
        note = "Test images; in brackets 95 % intervals over them, n is their number. One seed: another may differ.\n\n"
        return note + self._table(shown)

    def _probes(self) -> str:
        measured = [
            family for family in PROBES if any(name in self.record.metrics for name in FAMILIES[family].metrics)
        ]
        missing = [family for family in PROBES if family not in measured]
        parts = []
        if measured:
            parts.append(self._table([name for family in measured for name in FAMILIES[family].metrics]))
        if missing:
            names = "; ".join(f"{family} ({FAMILIES[family].title})" for family in missing)
            add = "\n".join(f"python -m benchmark measure {family}" for family in missing)
            if self.record.cell["dataset"].startswith(MEMORY_SCHEME):
                add = "python -m benchmark unlearn ... --data DATASET --measures " + ",".join(missing)
            parts.append(
                f"Not measured for this model: {names}. Expect that a classifier on the features, another wording or a "
                "few images of the class bring much of it back: for most methods they do. To measure it:\n\n"
                f"```bash\n{add}\n```"
            )
        return "\n\n".join(parts)

    def _warnings(self) -> str:
        again = self.record.metrics.get("forget/relearn_acc1@16")
        relearning = (
            f"Fine-tuning on 16 images of a forgotten class brings its accuracy to {value_text(again, percent=True)}."
            if again is not None and again.value is not None
            else "How much a few images bring back was not measured for this model."
        )
        return "\n".join(f"- {line}" for line in (
            "**Not a privacy guarantee.** Nothing shows that the influence of any training image is gone; do not use "
            "it to answer a request for erasure, or to claim that data were deleted.",
            f"**Not a safety filter.** Who has the weights can bring the class back. {relearning}",
            "**Not a general model.** What else changed is known only for the data sets of the table above.",
            "**Not for people.** No surveillance, no recognition of faces, no decision about a person: the original "
            "model was not made for it, and forgetting a class does not change that.",
            "Whatever the licence and the card of the original model exclude is excluded here too.",
        ))  # fmt: skip

    def _provenance(self) -> str:
        record, origin = self.record, self.record.provenance
        packages = ", ".join(
            f"{plain(name)} {plain(value)}" for name, value in dict(origin.get("packages", {})).items()
        )
        rows = [
            ("record", f"`record.json` in this folder, key {record.key}"),
            ("weights of the original", plain(origin.get("weights", "not known"))),
            ("code", plain(origin.get("code") or origin.get("method_source", "not known"))),
            ("commit", plain(origin.get("git") or "not known")),
            ("device", f"{plain(origin.get('device'))}, {plain(origin.get('precision'))}"),
            ("packages", packages or "not known"),
        ]
        again = "`python -m benchmark verify record.json` runs the cell again and compares every number."
        if any(self.record.cell[part].startswith(MEMORY_SCHEME) for part in ("model", "dataset")):
            again = f"To repeat it: `{plain(origin.get('command') or 'not known')}`"
        return "\n".join(f"- {name}: {value}" for name, value in rows) + f"\n\n{again}"

    def _table(self, names: Sequence[str]) -> str:
        head = ["measure", "before", "after"] + (["never saw it"] if self.retrained is not None else [])
        rows = []
        for name in names:
            columns = [self.before, self.record.metrics, *([self.retrained] if self.retrained is not None else [])]
            measure = find(name)
            percent = measure is None or measure.unit == "fraction"
            shown = [_cell(metrics, name, percent=percent) for metrics in columns]
            rows.append([_row_head(name, "" if measure is None else measure.title), *shown])
        return Table.of_texts(head, rows, words=(0,)).markdown()


def _cell(metrics: MetricsByName | None, name: str, *, percent: bool) -> str:
    return "not at hand" if metrics is None else value_text(metrics.get(name), percent=percent)


def _row_head(name: str, title: str) -> str:
    part, _, rest = name.partition("/")
    where = _HEADS.get(part, f"other data: {plain(rest.partition('/')[0])}")
    return f"{where}: {plain(title.partition(';')[0] or name)}"


def value_text(metric: Metric | None, *, percent: bool) -> str:
    """A metric as a card shows it.

    Args:
        metric: None where the record has none.
        percent: Whether it is a fraction, shown in per cent.
    """
    if metric is None or metric.value is None:
        return NOT_MEASURED
    factor, digits, unit = (100.0, 1, " %") if percent else (1.0, 3, "")
    text = number_text(metric.value, factor, digits) + unit
    if metric.ci95 is not None:
        text += f" {ends_text(*metric.ci95, factor, digits)}"
    return text + (f", n = {metric.n}" if metric.n is not None else "")


def _section(title: str, body: str) -> str:
    return f"## {title}\n\n{body}\n"


def _usage_of_added(trunk: str | None) -> str:
    first = (
        "" if trunk is None else f"import {trunk}  # {trunk}.py of this folder: registers the image trunk with timm\n"
    )
    return f"""The method left modules of its own in the model (the tensors whose names hold `added_`), which open_clip
does not build: loaded by it alone, the folder is refused. `{ADDED_MODULE}.py` of this folder builds them; it needs
nothing but open_clip. Start Python in this folder, or put it on `sys.path`.

```python
{first}import open_clip
import {ADDED_MODULE}

model, preprocess = {ADDED_MODULE}.load(".")  # the path of this folder; open_clip 3.0 or later
tokenizer = open_clip.get_tokenizer("local-dir:.")
```"""


def usage(trunk: str | None, hub: str = "", *, added: bool = False) -> str:
    """How open_clip loads the folder.

    Args:
        trunk: The module of the folder that must be imported first; None where open_clip needs none.
        hub: The repository of the hub that the folder goes to; empty where it stays here.
        added: Whether it holds modules that open_clip alone does not build.
    """
    if added:
        return _usage_of_added(trunk)
    name = "local-dir:." if trunk is not None or not hub else f"hf-hub:{hub}"
    where = '# "local-dir:" and the path of this folder; ' if name.startswith("local") else "# "
    first = (
        "" if trunk is None else f"import {trunk}  # {trunk}.py of this folder: registers the image trunk with timm\n"
    )
    note = "" if trunk is None else (
        f"The image trunk is none of timm's own: start Python in this folder, or put the folder on `sys.path`, so that "
        f"`{trunk}` can be imported. It needs nothing but torch and timm.\n\n"
    )  # fmt: skip
    return f"""{note}```python
{first}import open_clip

{where}open_clip 3.0 or later
model, _, preprocess = open_clip.create_model_and_transforms("{name}")
tokenizer = open_clip.get_tokenizer("{name}")
model.eval()
```

`preprocess` is what the numbers were measured with: the shorter side resized (bicubic), the centre cropped."""
