"""A wire between a process and Redis that can be cut, filled with silence, or made to lose just some commands."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Callable
from urllib.parse import urlsplit


class Proxy:
    """
    Forwards a local TCP port to the server at *upstream* (``unix://`` or ``redis://``); a context manager.

    Attributes:
        upstream: Where new connections lead to; may be changed.
        loses: Told each chunk that a client sends; True throws it away.
    """

    def __init__(self, upstream: str) -> None:
        self.upstream = upstream
        self.loses: Callable[[bytes], bool] = lambda _: False
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._port = self._listener.getsockname()[1]
        self._held = False
        self._ended = False
        self._lock = threading.Lock()
        self._pairs: dict[socket.socket, tuple[socket.socket, bool]] = {}
        self._bell, self._rung = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"redis://127.0.0.1:{self._port}/0"

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._bell.send(b"x")
        self._thread.join()
        self._listener.close()
        self.drop()

    def hold(self) -> None:
        """Silence: connections stay open, new ones are made by the kernel, and nothing comes through."""
        self._held = True
        self._bell.send(b"x")

    def let_go(self, *, lost: bool = False) -> None:
        """The end of the silence: what was sent meanwhile comes through late, or, *lost*, its connections are gone."""
        if lost:
            self.drop()
        self._held = False
        self._bell.send(b"x")

    def drop(self) -> None:
        """Every connection breaks."""
        with self._lock:
            for sock in self._pairs:
                with contextlib.suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._rung, selectors.EVENT_READ)
            selector.register(self._listener, selectors.EVENT_READ)
            while not self._ended:
                for key, _ in selector.select():
                    sock = key.fileobj
                    assert isinstance(sock, socket.socket)
                    if sock is self._rung:
                        sock.recv(64)
                        self._watch(selector)
                    elif sock is self._listener:
                        self._accept(selector)
                    elif sock in self._pairs:
                        self._forward(selector, sock)

    def _watch(self, selector: selectors.BaseSelector) -> None:
        watched = {self._listener, *self._pairs}
        known = {key.fileobj for key in selector.get_map().values()} - {self._rung}
        for sock in known if self._held else watched - known:
            selector.unregister(sock) if self._held else selector.register(sock, selectors.EVENT_READ)

    def _accept(self, selector: selectors.BaseSelector) -> None:
        client, _ = self._listener.accept()
        try:
            server = _connect(self.upstream)
        except OSError:
            client.close()
            return
        with self._lock:
            self._pairs[client], self._pairs[server] = (server, True), (client, False)
        for sock in (client, server):
            selector.register(sock, selectors.EVENT_READ)

    def _forward(self, selector: selectors.BaseSelector, sock: socket.socket) -> None:
        other, is_client = self._pairs[sock]
        data = b""
        with contextlib.suppress(OSError):
            data = sock.recv(1 << 20)
            if data and not (is_client and self.loses(data)):
                other.sendall(data)
        if not data:
            with self._lock:
                for end in (sock, other):
                    self._pairs.pop(end, None)
            for end in (sock, other):
                with contextlib.suppress(KeyError, ValueError):
                    selector.unregister(end)
                end.close()


def _connect(url: str) -> socket.socket:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(parts.path)
        return sock
    return socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 6379), 5)
