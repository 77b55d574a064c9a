"""A server that speaks the part of Elasticsearch's protocol that the sink uses, and fails as it is told to."""

import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from attrs import define, field

_TYPE = "application/vnd.elasticsearch+json;compatible-with=9"


@define
class FaultServer:
    """What the server holds, and how it fails.

    Attributes:
        documents: by index and ``_id``, in the order in which they were stored.
        templates: by name.
        faults: one for each bulk request to come: a status; "partial" (every other document is busy), "refuse" (the
            first document is refused), "lost" (everything is stored, and no answer comes), "hang", "page" (an answer
            that is none).
        bulks: how many bulk requests have come.
        missing: paths that answer 403.
    """

    documents: dict[str, dict[str, Any]] = field(factory=dict)
    templates: dict[str, Any] = field(factory=dict)
    faults: list[int | str] = field(factory=list)
    bulks: int = 0
    missing: str = "(?!)"
    hanging: threading.Event = field(factory=threading.Event)
    url: str = ""

    def stored(self, index: str = "esper-events") -> list[dict[str, Any]]:
        """The documents of an index."""
        return [*self.documents.get(index, {}).values()]

    def bulk(self, index: str, lines: list[bytes]) -> tuple[int, Any]:
        """Answer a bulk request; status 0: hang up."""
        self.bulks += 1
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, int):
            return fault, {"error": {"type": "es_rejected_execution_exception", "reason": "busy"}, "status": fault}
        if fault == "page":
            return 200, {"welcome": "home"}
        if fault == "hang":
            self.hanging.wait(20)
            return 0, None
        items = []
        for place in range(0, len(lines) - 1, 2):
            action, source = json.loads(lines[place])["create"], json.loads(lines[place + 1])
            items.append({"create": self._create(index, action["_id"], source, fault, place // 2)})
        if fault == "lost":
            return 0, None
        return 200, {"took": 1, "errors": any(it["create"]["status"] >= 300 for it in items), "items": items}

    def _create(self, index: str, name: str, source: Any, fault: Any, place: int) -> dict[str, Any]:
        found = self.documents.setdefault(index, {})
        if fault == "partial" and place % 2:
            return {"_id": name, "status": 429, "error": {"type": "es_rejected_execution_exception", "reason": "busy"}}
        if fault == "refuse" and place == 0:
            return {"_id": name, "status": 400, "error": {"type": "document_parsing_exception", "reason": "no date"}}
        if name in found:
            return {
                "_id": name,
                "status": 409,
                "error": {"type": "version_conflict_engine_exception", "reason": "there"},
            }
        found[name] = source
        return {"_id": name, "status": 201, "result": "created"}

    def answer(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        """Answer a request."""
        if re.fullmatch(self.missing, path):
            return 403, {"error": {"type": "security_exception", "reason": "not allowed"}, "status": 403}
        if path.startswith("/_index_template/"):
            self.templates[path.rpartition("/")[2]] = json.loads(body)
            return 200, {"acknowledged": True}
        index, _, call = path.strip("/").partition("/")
        if call == "_bulk":
            return self.bulk(index, body.splitlines())
        if call == "_refresh":
            return 200, {}
        if call == "_delete_by_query":
            run, first = (next(iter(it.values())) for it in json.loads(body)["query"]["bool"]["filter"])
            kept = self.documents[index]
            gone = [
                key
                for key, it in kept.items()
                if it["run_id"] == run["run_id"] and it["sequence"] >= first["sequence"]["gte"]
            ]
            for key in gone:
                del kept[key]
            return 200, {"deleted": len(gone), "failures": []}
        if method == "HEAD":
            return (200 if index in self.documents else 404), None
        if method == "PUT":
            self.documents[index] = {}
            return 200, {"acknowledged": True}
        return 404, {"error": "no such path", "status": 404}


@pytest.fixture
def faults() -> Iterator[FaultServer]:
    """Return a running server."""
    found = FaultServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, answer = found.answer(self.command, self.path.partition("?")[0], body)
            if status == 0:
                self.close_connection = True
                return
            data = b"" if answer is None else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Type", _TYPE)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PUT = do_POST = do_HEAD = handle_any  # noqa: N815 - http.server names them

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    found.url = f"http://127.0.0.1:{server.server_port}"
    yield found
    found.hanging.set()
    server.shutdown()
    server.server_close()
    thread.join()
