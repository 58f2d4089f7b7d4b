"""A reverse proxy that does to requests what networks and servers do: answers, cuts, delays."""

import http.client
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Seen:
    """One request."""

    method: str
    path: str
    """With its query."""
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Answer:
    """Answer instead of the server."""

    status: int
    code: str = ""
    message: str = ""
    text: str | None = None
    """Instead of S3's XML."""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Cut:
    """Break the connection after so many bytes of the answer's body."""

    after: int


@dataclass(frozen=True)
class Change:
    """Hand on a body that was damaged on its way."""

    body: Callable[[bytes], bytes]


Fault = Answer | Cut | Change | Callable[[Seen], Answer]
Rule = Callable[[Seen], Fault | None]


def times(count: int, fault: Fault, when: Callable[[Seen], bool] = lambda _: True) -> Rule:
    """Return a rule that strikes the first so many requests that match."""
    left = iter(range(count))
    lock = threading.Lock()

    def rule(seen: Seen) -> Fault | None:
        with lock:
            return fault if when(seen) and next(left, None) is not None else None

    return rule


@dataclass
class Proxy:
    """Forwards to a server; ``rule`` decides what goes wrong, ``in_turn`` what never overlaps."""

    upstream: tuple[str, int]
    rule: Rule = lambda _: None
    in_turn: Callable[[Seen], bool] = lambda _: False
    turn: threading.Lock = field(default_factory=threading.Lock)
    seen: list[Seen] = field(default_factory=list)
    port: int = 0

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def count(self, method: str, part: str = "") -> int:
        """Return how many requests came with this method and this part of the path."""
        return sum(one.method == method and part in one.path for one in self.seen)


@contextmanager
def proxy(port: int) -> Iterator[Proxy]:
    """Run a proxy before a server on a port of this computer."""
    made = Proxy(("127.0.0.1", port))

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            if self.headers.get("expect"):
                self.send_response_only(100)
                self.end_headers()
            body = self.rfile.read(length)
            seen = Seen(self.command, self.path, dict(self.headers), body)
            made.seen.append(seen)
            fault = made.rule(seen)
            if callable(fault) and not isinstance(fault, Change | Cut | Answer):
                fault = fault(seen)
            if isinstance(fault, Answer):
                self.answer(fault)
                return
            if isinstance(fault, Change):
                body = fault.body(body)
            with made.turn if made.in_turn(seen) else nullcontext():
                self.forward(body, fault.after if isinstance(fault, Cut) else None)

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = handle_one  # noqa: N815 - http.server's

        def answer(self, fault: Answer) -> None:
            text = fault.text
            if text is None:
                words = f"<Code>{fault.code}</Code><Message>{fault.message}</Message>"
                text = f'<?xml version="1.0"?><Error>{words}</Error>' if fault.code else ""
            data = b"" if self.command == "HEAD" else text.encode()
            self.send_response(fault.status)
            for name, value in fault.headers:
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def forward(self, body: bytes, cut: int | None) -> None:
            connection = http.client.HTTPConnection(*made.upstream, timeout=30)
            headers = {k: v for k, v in self.headers.items() if k.lower() != "expect"}
            connection.request(self.command, self.path, body, headers)
            response = connection.getresponse()
            data = response.read()
            self.send_response_only(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                    self.send_header(name, value)
            length = len(data)
            if self.command == "HEAD":
                length = int(response.getheader("content-length") or 0)
            self.send_header("content-length", str(length))
            self.end_headers()
            self.wfile.write(data if cut is None else data[:cut])
            connection.close()
            self.close_connection = cut is not None

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: Any) -> None:
            pass  # a client may break off

    server = Server(("127.0.0.1", 0), Handler)
    made.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
