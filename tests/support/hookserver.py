"""A web server that alerts and pings are sent to: it notes every call, and answers as a test wants."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, NamedTuple, Self

from tests.support.wait import wait_until


class Call(NamedTuple):
    """One call: `path` with its query."""

    method: str
    path: str
    body: bytes
    headers: dict[str, str]

    @property
    def data(self) -> Any:
        """Its JSON."""
        return json.loads(self.body)


class HookServer:
    """
    Listens on a port of its own.

    Attributes:
        answer: The status to answer with, of the calls from now on; 0 answers nothing until `let_go`.
    """

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.answer = 200
        self.headers: dict[str, str] = {}
        self._go = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.let_go()
        self._server.shutdown()
        self._server.server_close()

    def url(self, path: str = "/hook") -> str:
        """An address here."""
        return f"http://127.0.0.1:{self._server.server_address[1]}{path}"

    def let_go(self) -> None:
        """Answer those that hang."""
        self._go.set()

    def wait(
        self, n: int = 1, where: Callable[[Call], bool] = lambda _: True, *, timeout_s: float = 15.0
    ) -> list[Call]:
        """The calls that fit *where*, once there are *n*."""

        def fitting() -> list[Call] | None:
            found = [call for call in list(self.calls) if where(call)]
            return found if len(found) >= n else None

        found = wait_until(fitting, timeout_s=timeout_s, what=f"{n} calls, of {[call[:3] for call in self.calls]}")
        assert found is not None
        return found

    def _handler(outer) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status = outer.answer
                outer.calls.append(Call(self.command, self.path, body, dict(self.headers.items())))
                if status == 0:
                    outer._go.wait(60)
                    status = 200
                try:
                    self.send_response(status)
                    for name, value in outer.headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", "2")
                    self.end_headers()
                    self.wfile.write(b"ok")
                except OSError:
                    return

            do_POST = do_GET

            def log_message(self, *_: object) -> None:
                """Quiet."""

        return Handler
