"""A file server on the loopback whose answers can be made to fail, one request after another."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Answer:
    """How a request is answered.

    Args:
        status: other than 200 or 206, an error.
        kind: Content-Type.
        body: sent instead of the site's file.
        etag, modified: validators; None sends none.
        cut: bytes of the body after which the connection is closed.
        stall: after the cut, wait for ``Site.go_on`` and send the rest.
        silent: close the connection without an answer.
        ignore_range: always send the whole file.
        ignore_if_range: send the part asked for though the file has changed.
        sized: send Content-Length.
        chunked: send the body in chunks, without Content-Length.
        shift: begin a partial answer so many bytes too late.
        most: bytes that a partial answer has at most.
        headers: further ones.
    """

    status: int = 200
    kind: str = "application/octet-stream"
    body: bytes | None = None
    etag: str | None = '"first"'
    modified: str | None = None
    cut: int | None = None
    stall: bool = False
    silent: bool = False
    ignore_range: bool = False
    ignore_if_range: bool = False
    sized: bool = True
    chunked: bool = False
    shift: int = 0
    most: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Site:
    """The server's file, its usual answer, and the answers that come before it."""

    body: bytes
    address: str = ""
    usual: Answer = Answer()
    first: list[Answer] = field(default_factory=list)
    ranges: list[str | None] = field(default_factory=list)
    go_on: threading.Event = field(default_factory=threading.Event)
    sent: list[int] = field(default_factory=list)

    def next_answer(self, asked: str | None) -> Answer:
        """The answer to the next request, whose Range header is remembered."""
        self.ranges.append(asked)
        return self.first.pop(0) if self.first else self.usual

    def usually(self, **changes: object) -> None:
        """Change the usual answer."""
        self.usual = replace(self.usual, **changes)  # type: ignore[arg-type]


@contextlib.contextmanager
def serve(body: bytes) -> Iterator[Site]:
    """A running site; every path gives ``body``."""
    site = Site(body)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.close_connection = True
            answer = site.next_answer(self.headers["Range"])
            if answer.silent:
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                _answer(self, site, answer)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    site.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield site
    finally:
        site.go_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(handler: BaseHTTPRequestHandler, site: Site, answer: Answer) -> None:
    body = site.body if answer.body is None else answer.body
    asked = re.fullmatch(r"bytes=(\d+)-", handler.headers["Range"] or "")
    validators = {answer.etag, answer.modified} - {None}
    unchanged = answer.ignore_if_range or handler.headers["If-Range"] in validators
    partial = asked and unchanged and not answer.ignore_range and answer.status == 200
    whole = len(body)
    status = answer.status
    start = 0
    if asked and partial:
        start = int(asked[1]) + answer.shift
        status = 206 if start < whole else 416
        body = body[start : None if answer.most is None else start + answer.most]
    handler.send_response(status)
    handler.send_header("Content-Type", answer.kind)
    if status == 206:
        handler.send_header("Content-Range", f"bytes {start}-{start + len(body) - 1}/{whole}")
    if answer.etag:
        handler.send_header("ETag", answer.etag)
    if answer.modified:
        handler.send_header("Last-Modified", answer.modified)
    if answer.chunked:
        handler.send_header("Transfer-Encoding", "chunked")
    elif answer.sized:
        handler.send_header("Content-Length", str(len(body)))
    for name, value in answer.headers.items():
        handler.send_header(name, value)
    handler.end_headers()
    pieces = [body[: answer.cut], b"" if answer.cut is None else body[answer.cut :]]
    _send(handler, site, pieces[0], answer.chunked)
    if answer.stall:
        site.go_on.wait(30)
        _send(handler, site, pieces[1], answer.chunked)
    if answer.chunked and answer.cut is None:
        handler.wfile.write(b"0\r\n\r\n")


def _send(handler: BaseHTTPRequestHandler, site: Site, data: bytes, chunked: bool) -> None:
    # Counted first: the other side may be done with it before this thread goes on.
    site.sent.append(len(data))
    handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data) if chunked and data else data)
    handler.wfile.flush()
