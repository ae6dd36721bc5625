"""Results: record files, tuned values and folders that are no results."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

from tests.reliability.bad_inputs.asking import Arguments, Bad, run


@cache
def _record() -> str:
    """A whole record of this version, made of one that the project ships."""
    from benchmark.records.record import SCHEMA, key_of
    from benchmark.records.store import REFERENCE, RecordStore

    record = RecordStore(REFERENCE, older=True).all("quick")[0].to_dict()
    record = {**record, "schema": SCHEMA, "measures": {}, "key": key_of(record["cell"])}
    return json.dumps(_sealed(record))


def _sealed(record: dict[str, Any]) -> dict[str, Any]:
    """With the digest of its content, so that the content itself is looked at."""
    from benchmark.records.record import json_digest

    return {**record, "digest": json_digest({name: value for name, value in record.items() if name != "digest"})}


def _changed(change: Callable[[dict[str, Any]], Any]) -> Callable[[], bytes]:
    def content() -> bytes:
        record = json.loads(_record())
        change(record)
        return json.dumps(_sealed(record)).encode()

    return content


RECORDS: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "no JSON": lambda: b"{",
    "a list": lambda: b"[]",
    "a number": lambda: b"7",
    "half": lambda: _record().encode()[: len(_record()) // 2],
    "not UTF-8": lambda: b'{"a": "\xe9"}',
    "UTF-16": lambda: _record().encode("utf-16"),
    "deep": lambda: b"[" * 100_000,
    "NaN": lambda: b'{"schema": NaN}',
    "a key twice": lambda: b'{"schema": 1, "schema": 1}',
    "a huge number": lambda: b'{"schema": ' + b"1" * 10_000 + b"}",
    "zeros": lambda: bytes(4096),
    "another schema": _changed(lambda r: r.update(schema=99)),
    "no schema": _changed(lambda r: r.pop("schema")),
    "a key too short": _changed(lambda r: r.update(key="abc")),
    "another key": _changed(lambda r: r.update(key="0" * 64)),
    "an entry too many": _changed(lambda r: r.update(colour=1)),
    "metrics as a list": _changed(lambda r: r.update(metrics=[])),
    "a metric as text": _changed(lambda r: r["metrics"].update({"forget/acc1": "much"})),
    "no cell": _changed(lambda r: r.pop("cell")),
    "another seed": _changed(lambda r: r["cell"].update(seed=7)),
    "a seed as text": _changed(lambda r: r["cell"].update(seed="0")),
    "an unknown field of the cell": _changed(lambda r: r["cell"].update(colour=1)),
    "a suite above the folder": _changed(lambda r: r["cell"].update(suite="../x")),
    "a request as text": _changed(lambda r: r["cell"].update(request="star")),
    "others as a number": _changed(lambda r: r["cell"].update(others=3)),
    "a request of truth values": _changed(lambda r: r["cell"].update(request={"classes": [True]})),
}
ENTRY: dict[str, Any] = {
    "method": "nullspace",
    "dataset": "shapes",
    "kind": "class",
    "model": "shapes-resnet",
    "weights": "compact:0",
    "revision": "1",
    "values": {"alpha": 0.5},
    "score": "Q",
    "objective": 0.1,
    "untuned": 0.2,
    "trials": 3,
    "failed": 0,
    "suite": "development",
    "command": "x",
    "commit": None,
    "method_source": "0",
}


def _tuned(**changes: Any) -> str:
    return json.dumps([{**ENTRY, **changes}])


TUNED: dict[str, str | bytes] = {
    "empty": "",
    "no YAML": "{",
    "a mapping": "a: 1",
    "not UTF-8": b"\xe9: 1",
    "a Python object": "- !!python/object/apply:os.getcwd []",
    "an entry that is a number": "- 7",
    "an entry that lacks a field": "- {values: {}}",
    "values as a list": _tuned(values=[1]),
    "trials as text": _tuned(trials="3"),
    "trials as a truth value": _tuned(trials=True),
    "an objective that is text": _tuned(objective="low"),
    "an untuned objective that is text": _tuned(untuned="low"),
    "a suite that is a number": _tuned(suite=7),
    "a source that is a number": _tuned(method_source=7),
    "values out of range": _tuned(values={"alpha": 7.0}),
    "values of an unknown name": _tuned(values={"alpa": 0.5}),
    "a value that is not finite": _tuned().replace("0.5", ".inf"),
    "an entry twice": "{a: 1, a: 2}",
}


def bad_inputs() -> Iterator[Bad]:
    for name, content in RECORDS.items():
        for command in ("verify", "export"):
            yield Bad(f"{command} of a record: {name}", lambda f, c=content, command=command: _of_file(f, c(), command))
    for name, text in TUNED.items():
        yield Bad(f"tuned values: {name}", lambda f, text=text: _with_tuned(f, text))
    for kind, make in (("a pipe", os.mkfifo), ("a folder", os.mkdir)):
        yield Bad(f"verify of {kind}", lambda f, make=make: _special(f, make))
    for command in ("leaderboard", "report", "measure"):
        if command != "report":  # whose page says that there is nothing yet
            yield Bad(f"{command} of an empty folder", lambda f, c=command: _in(f, c, f))
            yield Bad(f"{command} of no folder", lambda f, c=command: _in(f, c, f / "nowhere"))
        yield Bad(f"{command} of a file", lambda f, c=command: _in(f, c, _file(f)))
    yield Bad("run into a file", lambda f: run(f, "--results", _file(f)))
    yield Bad("plan into a file", lambda f: ["plan", *run(f, "--results", _file(f))[1:]])


def _of_file(folder: Path, content: bytes, command: str) -> Arguments:
    (folder / "record.json").write_bytes(content)
    return [command, folder / "record.json", *([folder / "target"] if command == "export" else [])]


def _with_tuned(folder: Path, text: str | bytes) -> Arguments:
    (folder / "tuned.yaml").write_bytes(text.encode() if isinstance(text, str) else text)
    return run(folder, "--tuned-values", folder / "tuned.yaml")


def _special(folder: Path, make: Callable[[Path], None]) -> Arguments:
    make(folder / "record.json")
    return ["verify", folder / "record.json"]


def _in(folder: Path, command: str, results: Path) -> Arguments:
    more: Arguments = ["linear_probe"] if command == "measure" else []
    records: Arguments = ["--own", "--out", folder / "page.html"] if command == "report" else []
    return [command, *more, "--results", results, *records]


def _file(folder: Path) -> Path:
    path = folder / "in_the_way"
    path.write_text("x")
    return path
