"""A small server that speaks the protocol of the Hugging Face hub."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

SHA = "0123456789012345678901234567890123456789"


class Hub:
    """Folders as repositories. ``served`` lists the files whose content was asked for."""

    def __init__(self) -> None:
        self.repositories: dict[str, Path] = {}
        self.gated: set[str] = set()
        self.served: list[str] = []
        self.breaks_at = ""  # a file whose connection is cut in the middle

    def answer(self, request: BaseHTTPRequestHandler, *, with_body: bool) -> None:
        path = request.path.partition("?")[0].strip("/")
        if path.startswith("api/models/"):
            name = "/".join(path.split("/")[2:4])
            if name in self.gated or name not in self.repositories:
                return self._refuse(request, name)
            return self._send(
                request, json.dumps(self._info(name)).encode(), {"Content-Type": "application/json"}, True
            )
        name, _, rest = path.partition("/resolve/")
        if name in self.gated or name not in self.repositories:
            return self._refuse(request, name)
        content = (self.repositories[name] / rest.partition("/")[2]).read_bytes()
        if with_body:
            self.served.append(rest.partition("/")[2])
        if with_body and self.breaks_at == rest.partition("/")[2]:
            content = content[: len(content) // 2]
        etag = hashlib.sha256(content).hexdigest()
        headers = {"ETag": f'"{etag}"', "X-Repo-Commit": SHA, "Content-Type": "application/octet-stream"}
        return self._send(request, content, headers, with_body)

    def _info(self, name: str) -> dict[str, Any]:
        folder = self.repositories[name]
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        siblings = [{"rfilename": str(path.relative_to(folder)), "size": path.stat().st_size} for path in files]
        return {"id": name, "modelId": name, "sha": SHA, "siblings": siblings, "tags": [], "private": False}

    def _refuse(self, request: BaseHTTPRequestHandler, name: str) -> None:
        code, error = (403, "GatedRepo") if name in self.gated else (404, "RepoNotFound")
        request.send_response(code)
        request.send_header("X-Error-Code", error)
        request.send_header("Content-Length", "0")
        request.end_headers()

    def _send(self, request: BaseHTTPRequestHandler, body: bytes, headers: dict[str, str], with_body: bool) -> None:
        request.send_response(200)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(key, value)
        request.end_headers()
        if with_body:
            request.wfile.write(body)


@contextmanager
def serve(hub: Hub) -> Iterator[str]:
    """Its address, for as long as it answers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            hub.answer(self, with_body=True)

        def do_HEAD(self) -> None:
            hub.answer(self, with_body=False)

        def log_message(self, format: str, *arguments: Any) -> None:
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
