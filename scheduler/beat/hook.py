"""
Telling somebody outside: a web address is called, a callable is run in a process of its own.

What stands behind the host of an address (a webhook's path, a token) is a secret: nothing here repeats it. Redirects are not
followed, as that would hand it on to somebody else. A call that hangs is given up by whoever made it: each part of it has a
limit, and `LEASE_MS` of the store is longer than all of them.
"""

from __future__ import annotations

import base64
import http.client
import urllib.request
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit, urlunsplit

from scheduler.config import http_url_complaint

CALL_S_MAX = 10.0
"""For connecting, and for each part of the answer."""
ANSWER_BYTES_MAX = 1_024


class Answer(NamedTuple):
    """
    What became of telling somebody.

    Attributes:
        text: What came back: ``200 OK``, ``answered 500 …``, ``no answer within 10 s``.
        done: How many messages were taken; None: all if it is ok, else none.
    """

    ok: bool
    text: str
    done: int | None = None


def call_url(url: str, data: bytes | None = None, *, content: str = "application/json") -> Answer:
    """Call *url*: GET, or POST of *data*. Proxies as the environment says."""
    if complaint := http_url_complaint(url):
        return Answer(False, complaint)
    address, headers = _without_login(url)
    headers["User-Agent"] = f"steadybeat/{_version()}"
    if data is not None:
        headers["Content-Type"] = content
    try:
        with _opener().open(urllib.request.Request(address, data, headers), timeout=CALL_S_MAX) as response:
            response.read(ANSWER_BYTES_MAX)
            return Answer(True, f"{response.status} {response.reason}".strip())
    except HTTPError as error:
        error.close()
        if error.code in _MOVED:
            return Answer(
                False, f"answered {error.code}: it has moved, and redirects are not followed; use the new address"
            )
        return Answer(False, f"answered {error.code} {_REASONS.get(error.code, '')}".strip())
    except TimeoutError:
        return Answer(False, _SLOW)
    except URLError as error:
        return Answer(False, _SLOW if isinstance(error.reason, TimeoutError) else _why(error.reason))
    except (OSError, http.client.HTTPException, ValueError) as error:
        # Their texts may repeat the address.
        return Answer(
            False, _why(error) if isinstance(error, OSError) else f"no proper answer ({type(error).__name__})"
        )


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """None: what was answered is the answer."""


@cache
def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirects())


@cache
def _version() -> str:
    return version("steadybeat")


def _without_login(url: str) -> tuple[str, dict[str, str]]:
    """*url* without user and password, and the header that says them."""
    parts = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return url, {}
    user, _, password = login.partition(":")
    token = base64.b64encode(f"{unquote(user)}:{unquote(password)}".encode()).decode()
    return urlunsplit(parts._replace(netloc=host)), {"Authorization": f"Basic {token}"}


def _why(reason: object) -> str:
    """Why there was no answer, without the number."""
    text = reason.strerror if isinstance(reason, OSError) and reason.strerror else str(reason)
    return f"no answer: {text}"


_SLOW = f"no answer within {CALL_S_MAX:g} s"
_MOVED = frozenset({301, 302, 303, 307, 308})
_REASONS = http.client.responses
