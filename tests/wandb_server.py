"""A small HTTP server in the place of Weights & Biases': answers its client, and keeps what it is sent."""

from __future__ import annotations

import json
import re
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "me"
OF_RUN = re.compile(r"/files/(?P<entity>[^/]+)/(?P<project>[^/]+)/(?P<run>[^/]+)/file_stream")


@dataclass
class Received:
    """What the server was sent.

    Attributes:
        address: Of the server.
        runs: By their ids, the variables of the last mutation that named them.
        created: The ids in the order in which they first came.
        history: By run, the rows that were logged.
        files: By run, the files that were uploaded.
    """

    address: str
    runs: dict[str, dict[str, Any]] = field(default_factory=dict)
    created: list[str] = field(default_factory=list)
    history: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    files: dict[str, dict[str, bytes]] = field(default_factory=lambda: defaultdict(dict))

    def answer(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        """The answer to a query of the client's GraphQL."""
        if "upsertBucket" in query:
            name = str(variables["name"])
            self.created += [] if name in self.runs else [name]
            known = {key: value for key, value in variables.items() if value is not None}
            self.runs[name] = self.runs.get(name, {}) | known
            project = {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": ENTITY}}
            bucket = {"id": name, "name": name, "displayName": variables.get("displayName"), "project": project}
            return {"upsertBucket": {"bucket": bucket, "inserted": True}}
        if "createRunFiles" in query:
            named = [
                {"name": file, "uploadUrl": f"{self.address}/upload/{variables['run']}/{file}"}
                for file in variables["files"]
            ]
            return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": named}}
        if "createArtifact(" in query:
            sequence = {"id": "sequence", "latestArtifact": {"id": "artifact", "versionIndex": 0}}
            artifact = {"id": "artifact", "state": "COMMITTED", "artifactSequence": sequence}
            return {"createArtifact": {"artifact": artifact}}
        if "query ArtifactType" in query:
            return {"project": {"artifact": None}}
        if "viewer" in query:
            return {"viewer": {"id": "u", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": {"edges": []}}}
        return {}

    def take(self, path: str, body: bytes) -> dict[str, Any]:
        """Take what is no query: rows of a run, or a file of it."""
        if match := OF_RUN.fullmatch(path):
            for name, chunk in (json.loads(body).get("files") or {}).items():
                if name == "wandb-history.jsonl":
                    self.history[match["run"]] += [json.loads(line) for line in chunk["content"]]
        elif path.startswith("/upload/"):
            _, _, run, file = path.split("/", 3)
            self.files[run][file] = body
        return {"exitcode": None, "limits": {}}


@contextmanager
def wandb_server() -> Iterator[Received]:
    """The server, for as long as the block runs."""
    received = Received("")

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length") or 0))
            if self.path == "/graphql":
                asked = json.loads(body)
                content = {"data": received.answer(asked["query"], asked.get("variables") or {})}
            else:
                content = received.take(self.path, body)
            sent = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = do_PUT = _answer

        def log_message(self, format: str, *values: Any) -> None:
            """Nothing is printed."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
