"""A local file server that stands in for the hub and other hosts: slow, truncated or wrong on demand."""

from __future__ import annotations

import hashlib
import http.server
import json
import threading
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field

COMMIT = "a" * 40


@dataclass
class Files:
    """What is served by path, and how. `asked`: (path, requested range) of each GET."""

    files: dict[str, bytes] = field(default_factory=dict)
    pages: dict[str, dict] = field(default_factory=dict)  # JSON answers, by path without the query
    piece: int = 1 << 16
    after: Callable[[], object] = bool  # is called after each piece, and may wait
    cut: int | None = None  # bytes of an answer after which the connection ends
    status: int | None = None  # of every answer
    ranges: bool = True
    asked: list[tuple[str, str | None]] = field(default_factory=list)
    url: str = ""

    def sent(self, handler, body: bool) -> None:
        path, asked = handler.path.partition("?")[0], handler.headers.get("Range")
        if body:
            self.asked.append((path, asked))
        data = json.dumps(self.pages[path]).encode() if path in self.pages else self.files.get(path)
        if data is None or self.status:
            code = self.status or 404
            handler.send_response(code)
            repo, revised, _ = path.partition("/revision/")
            if revised and not self.status:
                known = any(page.startswith(f"{repo}/") for page in self.pages)
                handler.send_header("X-Error-Code", "RevisionNotFound" if known else "RepoNotFound")
            elif "/resolve/" in path and not self.status:
                handler.send_header("X-Error-Code", "EntryNotFound")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        etag = f'"{hashlib.sha256(data).hexdigest()}"'
        start = 0
        if asked and self.ranges and handler.headers.get("If-Range") in (None, etag):
            start = int(asked.removeprefix("bytes=").partition("-")[0])
            if start >= len(data):
                handler.send_response(416)
                handler.send_header("Content-Length", "0")
                handler.end_headers()
                return
        handler.send_response(206 if start else 200)
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        handler.send_header("ETag", etag)
        handler.send_header("X-Repo-Commit", COMMIT)
        handler.send_header("Content-Length", str(len(data) - start))
        handler.end_headers()
        if not body:
            return
        end = len(data) if self.cut is None else min(len(data), start + self.cut)
        for at in range(start, end, self.piece):
            handler.wfile.write(data[at : min(end, at + self.piece)])
            self.after()
        handler.close_connection = True


@contextmanager
def serving(port: int = 0, **how):
    """A server, as Files with its `url`."""
    files = Files(**how)

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            try:
                files.sent(self, body=True)
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True  # whoever asked has gone

        def do_HEAD(self):
            files.sent(self, body=False)

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    files.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield files
    finally:
        server.shutdown()
        server.server_close()
