"""A plugin is found with the modules beside it, they count in its key, and nothing else is disturbed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from methods.common.card import ContractError
from methods.common.plugins import import_plugin
from methods.common.registry import Registry

METHOD = """
from methods.common.base import ClosedFormMethod
from methods.common.card import MethodCard
{imports}
CARD = MethodCard(name="{name}", title="t", paper="p", regime="none", edits=("nothing",), stochastic=False)


class Method(ClosedFormMethod):
    card = CARD
    keep = {keep}

    def edit(self):
        {edit}
"""


def plugin(folder: Path, imports: str, keep: str, *, name: str = "mine", edit: str = "pass", **beside: str) -> Path:
    """A method's file and the files beside it; `a__b` is `a/b.py`."""
    for file, text in {**beside, name: METHOD.format(name=name, imports=imports, keep=keep, edit=edit)}.items():
        path = folder / (file.replace("__", "/", 1) + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder / f"{name}.py"


WAYS = {
    "from helper import K": ("from helper import K", "K", {"helper": "K = {}\n"}),
    "import helper": ("import helper", "helper.K", {"helper": "K = {}\n"}),
    "import as": ("import helper as h", "h.K", {"helper": "K = {}\n"}),
    "star": ("from helper import *", "K", {"helper": "K = {}\n"}),
    "relative": ("from .helper import K", "K", {"helper": "K = {}\n"}),
    "relative module": ("from . import helper", "helper.K", {"helper": "K = {}\n"}),
    "through another": ("from one import K", "K", {"one": "from helper import K\n", "helper": "K = {}\n"}),
    "a package": ("from tools.numbers import K", "K", {"tools____init__": "", "tools__numbers": "K = {}\n"}),
    "a package as such": (
        "import tools.numbers",
        "tools.numbers.K",
        {"tools____init__": "", "tools__numbers": "K = {}\n"},
    ),
    "a folder": ("from my_own_tools import numbers", "numbers.K", {"my_own_tools__numbers": "K = {}\n"}),
    "its init": (
        "from tools import K",
        "K",
        {"tools____init__": "from .numbers import K\n", "tools__numbers": "K = {}\n"},
    ),
}


@pytest.mark.parametrize("way", WAYS)
def test_a_helper_is_found_and_counts(way: str, tmp_path: Path) -> None:
    imports, keep, files = WAYS[way]
    path_before = list(sys.path)
    digests = []
    for value in (1, 2):  # of one size, within one second: kept bytecode would not see it
        path = plugin(tmp_path, imports, keep, **{name: text.format(value) for name, text in files.items()})
        registry = Registry([path])
        assert registry.method_class("mine").keep == value
        digests.append(registry.source_hash("mine"))
    assert digests[0] != digests[1]
    assert sys.path == path_before
    assert not {"mine", "helper", "one", "tools", "my_own_tools"} & set(sys.modules)


def test_an_import_inside_a_function_is_found_when_it_runs(tmp_path: Path) -> None:
    path = plugin(tmp_path, "", "0", edit="import late; return late.VALUE", late="VALUE = 7\n")
    registry = Registry([path])
    assert registry.method_class("mine").edit(None) == 7
    before = registry.source_hash("mine")
    (tmp_path / "late.py").write_text("VALUE = 8\n")
    assert registry.source_hash("mine") != before


def test_two_plugins_have_helpers_of_one_name(tmp_path: Path) -> None:
    paths = [
        plugin(
            tmp_path / name,
            "from helper import K",
            "K",
            name=name,
            helper=f"K = {n}\n",
            edit="import helper; return helper.K",
        )
        for n, name in enumerate(("one", "two"))
    ]
    registry = Registry(paths)
    classes = [registry.method_class(name) for name in ("one", "two")]
    assert [kind.keep for kind in classes] == [0, 1] and [kind.edit(None) for kind in classes] == [0, 1]


def test_a_file_beside_it_does_not_take_the_place_of_pythons_or_ours(tmp_path: Path) -> None:
    beside = {"random": "raise ValueError\n", "json": "raise ValueError\n", "methods____init__": "raise ValueError\n"}
    path = plugin(tmp_path, "import random, json\nfrom methods.common.clip import Clip", "json.dumps(1)", **beside)
    assert Registry([path]).method_class("mine").keep == "1"


def test_other_words_and_what_is_not_imported_do_not_count(tmp_path: Path) -> None:
    path = plugin(tmp_path, "from helper import K", "K", helper="K = 1\n", unused="X = 1\n")
    registry = Registry([path])
    before = registry.source_hash("mine")
    (tmp_path / "helper.py").write_text('"""Numbers."""\nK: int = 1  # one\n')
    (tmp_path / "unused.py").write_text("X = 2\n")
    assert registry.source_hash("mine") == before
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for name in ("mine.py", "helper.py"):
        (tmp_path / name).rename(moved / name)
    assert Registry([moved / "mine.py"]).source_hash("mine") == before


def test_a_broken_helper_is_one_clear_line(tmp_path: Path) -> None:
    path = plugin(tmp_path, "from helper import K", "K", helper="raise OSError('no')\n")
    with pytest.raises(ContractError, match=r"mine\.py cannot be imported: OSError: no"):
        import_plugin(path)
    (tmp_path / "helper.py").write_text("K = 3\n")
    assert import_plugin(path).K == 3


def test_it_works_from_any_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(tmp_path / "plugins", "from helper import K", "K", helper="K = 5\n")
    (tmp_path / "helper.py").write_text("K = 6\n")  # in the current folder: another plugin's
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend("")  # as for `python -m`
    assert Registry([Path("plugins/mine.py")]).method_class("mine").keep == 5
