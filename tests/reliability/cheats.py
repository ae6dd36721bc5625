"""Cheats: a method that reads what its data regime does not give, fakes a score, or changes the next method's numbers.

Each is a plugin whose body would succeed if it ran where the measuring happens. The promise is kept where the cell
fails, or where its numbers are those of the weights alone. What is not promised stands in the documentation: a program
that calls into C can read files that the audit hook does not see.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

from tests.reliability.case import Case

CHEAT = '''"""A method that cheats."""
from methods.common.base import ClosedFormMethod
from methods.common.card import MethodCard, NoHyperparameters
from methods.common.projections import visual_projection
{top}

CARD = MethodCard(
    name="cheat", title="cheats", paper="nobody 2026", regime={regime!r}, edits=("visual projection",), stochastic=False
)


class Cheat(ClosedFormMethod[NoHyperparameters]):
    card = CARD
{members}
    def edit(self) -> None:
        {body}
        visual_projection(self.clip).weight.mul_(0.5)
'''
INIT = """
    def __init__(self, clip, spec, hyperparameters):
        super().__init__(clip, spec, hyperparameters)
        {body}
"""
PLAN = """
    def planned_steps(self, sizes):
        {body}
        return 1
"""
SHAPES = "from datamodules.common.registry import open_dataset; from pathlib import Path; "
TEST_IMAGES = SHAPES + "open_dataset('shapes', None, Path('{cache}'), 32).split('test').images.read([0])"

READS: dict[str, dict[str, str]] = {
    "opens the data set at import": {"top": TEST_IMAGES},
    "opens the data set in its constructor": {"members": INIT.format(body=TEST_IMAGES)},
    "opens the data set in planned_steps": {"members": PLAN.format(body=TEST_IMAGES)},
    "opens the data set in its edit": {"body": TEST_IMAGES},
    "opens the data set and hides the refusal": {
        "body": f"\n        try:\n            {TEST_IMAGES}\n        except Exception:\n            pass"
    },
    "maps an array of the cache": {
        "body": "import numpy, glob; numpy.load(glob.glob('{cache}/images/*test*')[0], mmap_mode='r')"
    },
    "lists the cache": {"body": "import os; os.listdir('{cache}/images')"},
    "walks the cache": {"body": "import os; [f for _, _, fs in os.walk('{cache}') for f in fs] or 1 / 0"},
    "opens the cache by another name": {
        "body": "import os; os.symlink('{cache}', '{spare}/link'); os.listdir('{spare}/link/images')"
    },
    "reads the data folder": {"body": "open('{data}/secret.txt').read()"},
    "reads the data folder by descriptor": {"body": "import os; os.read(os.open('{data}/secret.txt', os.O_RDONLY), 9)"},
    "reads the results": {"body": "open('{results}/secret.txt').read()"},
    "copies the data folder with a program": {
        "body": "import subprocess; subprocess.run(['cat', '{data}/secret.txt'], capture_output=True)"
    },
    "asks a shell": {"body": "import os; os.system('cat {data}/secret.txt > {spare}/copy')"},
    "imports the world's drawing": {"body": "import datamodules.shapes_world.drawing"},
    "imports the world by importlib": {
        "body": "import importlib; importlib.import_module('datamodules.shapes_world.vocabulary')"
    },
    "runs the source of the world": {
        "body": "import datamodules, pathlib; "
        "exec(pathlib.Path(datamodules.__path__[0], 'shapes_world.py').read_text(), {{}})"
    },
    "imports the unseen images": {"body": "from datamodules.shapes_world import unseen"},
    "draws in a forked child": {
        "body": "import os; pid = os.fork(); "
        "os._exit(int(__import__('datamodules.shapes_world.drawing') is None)) if not pid else "
        "(lambda s: (_ for _ in ()).throw(RuntimeError('the child was stopped')) if s else None)(os.waitpid(pid, 0)[1])"
    },
    "looks for images in memory": {
        "body": "import gc; from datamodules.common.images import ImageArray; "
        "found = [o for o in gc.get_objects() if isinstance(o, ImageArray)]; "
        "[o.read([0]) for o in found] or (_ for _ in ()).throw(RuntimeError('nothing is there'))"
    },
    "looks for the other parts in the job": {
        "body": "import os, pathlib; root = pathlib.Path(os.path.realpath('{cache}')) / 'jobs'; "
        "[p.read_bytes() for p in root.rglob('images.npy')]"
    },
    "asks for a part that it is not given": {"body": "self.data._parts['forget']"},
    "asks for the retrained model": {"body": "self.data.retrained()"},
    "reads the memory of its parent": {"body": "import os; open(f'/proc/{{os.getppid()}}/mem', 'rb').read(1)"},
    "asks the network": {"body": "import socket; socket.create_connection(('127.0.0.1', 9), timeout=1)"},
}
"""Each must fail: what it wants is not there, or is refused."""

FAKES: dict[str, dict[str, str]] = {
    "refuses the names": {"body": "self.clip.refused = tuple(self.spec.forget_names)"},
    "replaces the tokenizer": {
        "body": "self.clip.tokenize = lambda texts: __import__('torch').zeros(len(texts), 24).long()"
    },
    "leaves a hook that knows images": {"body": "self.clip.model.visual.register_forward_hook(lambda m, i, o: o * 0)"},
    "leaves another forward": {"body": "self.clip.model.visual.forward = lambda x: x.flatten(1)[:, :64] * 0"},
    "leaves another module": {
        "body": "import torch; self.clip.model.visual = torch.nn.Sequential(self.clip.model.visual, torch.nn.Tanh())"
    },
    "patches the score": {
        "top": "import benchmark.evaluation.numerics.metrics as scores\nscores.kravets = lambda **_: 0.0",
    },
    "patches the evaluation": {
        "top": "from benchmark.evaluation.evaluate import Evaluation\nEvaluation.measure = lambda *a, **k: {{}}",
    },
    "patches torch": {"top": "import torch\ntorch.Tensor.argmax = lambda *a, **k: torch.zeros(1)"},
    "says that it took no time": {"body": "self.reused_seconds = -1000.0"},
    "stops the clock": {"top": "import time\ntime.perf_counter = lambda: 0.0", "body": "import time; time.sleep(4)"},
    "works in its constructor": {"members": INIT.format(body="import time; time.sleep(1.5)")},
    "says that it may edit everything": {
        "members": "\n    def may_edit(self, name):\n        return True\n",
        "body": "self.clip.model.ln_final.weight.mul_(2)",
    },
    "carries another card": {
        "members": INIT.format(
            body="import dataclasses; type(self).card = dataclasses.replace(CARD, edits=('visual', 'text'))"
        ),
        "body": "self.clip.model.ln_final.weight.mul_(2)",
    },
    "leaves weights that are no numbers": {"body": "visual_projection(self.clip).weight.fill_(float('nan'))"},
    "writes its own answer": {
        "body": "from pathlib import Path; import benchmark.execution.process.job as a; "
        "a.Answer.write = lambda self, rank: (rank.folder / '0.answer.json').write_text('{{\"seconds\": -1}}')",
    },
    "sends garbage": {
        "body": "import gc; from benchmark.execution.process.child import Rank; "
        "[o.parent.send_bytes(b'\\xff' * 100) for o in gc.get_objects() if isinstance(o, Rank)]"
    },
    "answers by code": {
        "body": "import pickle, benchmark.execution.process.job as a; "
        "a.Answer.write = lambda self, rank: (rank.folder / '0.answer.json').write_bytes("
        "pickle.dumps(__import__('os').getcwd))",
    },
}
"""Each must fail, or end with the numbers of the honest weights and a cost that holds what it did."""

LEAKS: dict[str, dict[str, str]] = {
    "changes the number of threads": {"top": "import torch\ntorch.set_num_threads(1)"},
    "changes the default type": {"top": "import torch\ntorch.set_default_dtype(torch.float64)"},
    "turns gradients off": {"top": "import torch\ntorch.set_grad_enabled(False)"},
    "seeds everything": {
        "body": "import torch, random, numpy; torch.manual_seed(1); random.seed(1); numpy.random.seed(1)"
    },
    "patches the methods' base": {
        "top": "import methods.common.base as base\nbase.UnlearningMethod.batch_size = lambda self: 1"
    },
    "patches the tokenizer's class": {
        "top": "import open_clip.tokenizer as t\nt.SimpleTokenizer.__call__ = lambda *a, **k: 1 / 0"
    },
    "patches the preprocessing": {
        "top": "import datamodules.common.images as images\nimages.Preprocessing.normalise = lambda self, x: x * 0"
    },
    "sets an environment variable": {"top": "import os\nos.environ['OMP_NUM_THREADS'] = '7'\nos.chdir('/')"},
    "edits a helper that others import": {"top": "import methods.common.zero_shot as z\nz.draw_seed = lambda: 0"},
    "replaces a module": {"top": "import sys\nsys.modules['methods.common.projections'] = None"},
    "leaves a thread": {
        "body": "import threading, time; threading.Thread(target=lambda: time.sleep(600), daemon=False).start()"
    },
}
"""After each, another method's weights are those that it leaves alone, to the last bit."""


def cases(count: int | None) -> list[Case]:
    """All cheats, whatever the count: there are no random ones among them."""
    kinds: tuple[tuple[str, dict[str, dict[str, str]], Callable[..., str]], ...] = (
        ("reads", READS, _must_fail),
        ("fakes", FAKES, _must_be_honest),
        ("leaks", LEAKS, _must_not_leak),
    )
    return [Case(name, partial(check, parts)) for _, table, check in kinds for name, parts in table.items()]


FAST = frozenset(
    {
        "opens the data set at import",
        "opens the data set and hides the refusal",
        "runs the source of the world",
        "refuses the names",
        "leaves a hook that knows images",
        "works in its constructor",
        "says that it may edit everything",
        "patches the methods' base",
    }
)


@cache
def _world() -> Any:
    """A tiny CLIP, the tiny data set, and what honest weights give."""
    import sys

    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tiny import APPLE, TinyDataset, tiny_clip

    return tiny_clip("resnet"), TinyDataset(), APPLE


def _cheat(folder: Path, parts: dict[str, str], regime: str = "names") -> Path:
    places = {name: str(folder / name) for name in ("cache", "data", "results", "spare")}
    for place in places.values():
        Path(place).mkdir()
        (Path(place) / "secret.txt").write_text("secret")
    (folder / "cache" / "images").mkdir()
    filled = {name: parts.get(name, "").format(**places) for name in ("top", "members", "body")}
    text = CHEAT.format(regime=regime, **{**filled, "body": filled["body"] or "pass"})
    file = folder / "cheat.py"
    file.write_text(text, encoding="utf-8")
    return file


def _unlearned(file: Path, folder: Path) -> Any:
    from benchmark.execution.process.unlearner import Unlearner, Work
    from methods.common.registry import read_declaration

    clip, dataset, request = _world()
    unlearner = Unlearner(folder / "cache", (folder / "data", folder / "results"))
    return unlearner.unlearn(Work(read_declaration(file), {}, clip, dataset, request, 0))


def _must_fail(parts: dict[str, str], folder: Path) -> str:
    try:
        _unlearned(_cheat(folder, parts), folder)
    except Exception as error:  # noqa: BLE001 - that it fails is the promise
        return "" if str(error) else "it failed without a word"
    return "it went through unseen"


def _must_be_honest(parts: dict[str, str], folder: Path) -> str:
    import torch

    from methods.common.projections import visual_projection

    clip = _world()[0]
    try:
        done = _unlearned(_cheat(folder, parts), folder)
    except Exception as error:  # noqa: BLE001 - that it fails keeps the promise too
        return "" if str(error) else "it failed without a word"
    expected = clip.copy()
    with torch.no_grad():
        visual_projection(expected).weight.mul_(0.5)
    state = done.clip.model.state_dict()
    if done.clip.refused or done.clip.tokenize is not clip.tokenize:
        return "names are refused, or the tokenizer is another"
    if not all(torch.equal(value, state[name]) for name, value in expected.model.state_dict().items()):
        return "the weights are not those of its honest part"
    images = torch.rand(4, 3, *[clip.preprocessing.image_size] * 2)
    if not torch.equal(done.clip.encode_image(images), expected.encode_image(images)):
        return "the model answers otherwise than its weights"
    if not (math.isfinite(done.cost.seconds) and done.cost.seconds >= 0):
        return f"it cost {done.cost.seconds} seconds"
    if "sleep(1.5)" in str(parts) and done.cost.seconds < 1.4:
        return f"its constructor's work cost {done.cost.seconds:.2f} seconds"
    if "sleep(4)" in str(parts):
        return f"its clock stood still: {done.cost.seconds:.2f} seconds"
    return ""


def _must_not_leak(parts: dict[str, str], folder: Path) -> str:
    import torch

    honest = _cheat(folder, {})
    before = _unlearned(honest, folder).clip.model.state_dict()
    threads = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    (folder / "second").mkdir()
    cheat = _cheat(folder / "second", parts)
    try:
        _unlearned(cheat, folder)
    except Exception as error:  # noqa: BLE001 - it may fail; what counts is the next one
        if not str(error):
            return "it failed without a word"
    after = _unlearned(honest, folder).clip.model.state_dict()
    if threads != (torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()):
        return "a setting of torch leaked into the process that measures"
    if not all(torch.equal(value, after[name]) for name, value in before.items()):
        return "the next method's weights are others"
    return ""
