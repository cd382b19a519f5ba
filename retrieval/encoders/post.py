"""JSON over HTTP with a time limit and retries, on the standard library alone.

What may pass by itself is tried again, later each time: a server that starts, is busy, or
drops a connection. A request it understood and refused is not.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

from retrieval.errors import EncoderError

KEY = "FOLIOSCOPE_ENCODER_API_KEY"
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 20.0


class Endpoint:
    """One server. Safe to share between threads."""

    def __init__(
        self,
        url: str,
        *,
        timeout: float,
        retries: int | None,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """``timeout`` is seconds for one answer; ``wait`` is called between tries."""
        self.url = url
        self._timeout = timeout
        self._retries = retries or 0
        self._wait = wait

    def get(self, path: str) -> Any:
        """The JSON at ``path``. Raises ``EncoderError``."""
        return self._answer(path, None)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        """What the server answers to ``body``. Raises ``EncoderError``."""
        return self._answer(path, json.dumps(body).encode())

    def _answer(self, path: str, body: bytes | None) -> Any:
        pause = _FIRST_WAIT
        for attempt in range(self._retries + 1):
            try:
                return self._once(path, body)
            except _PassingError as error:
                if attempt == self._retries:
                    tries = f"{attempt + 1} tries" if attempt else "one try"
                    raise EncoderError(
                        f"{self.url}{path} did not answer ({error}) in {tries}; see that the "
                        "server runs, and raise timeout or retries if it is only slow"
                    ) from error
                self._wait(error.seconds or pause)
                pause = min(2 * pause, _LONGEST_WAIT)
        raise AssertionError("a try either returns or raises")

    def _once(self, path: str, body: bytes | None) -> Any:
        request = urllib.request.Request(self.url + path, data=body)
        request.add_header("Content-Type", "application/json")
        key = os.environ.get(KEY)
        if key:
            request.add_header("Authorization", f"Bearer {key}")
        try:
            with urllib.request.urlopen(request, timeout=self._timeout) as response:
                return json.loads(response.read())
        except urllib.error.HTTPError as error:
            said = " ".join(error.read().decode("utf-8", "replace").split())[:200]
            if error.code in _PASSING:
                raise _PassingError(f"{error.code} {said}", _seconds(error)) from error
            hint = f"; set {KEY}" if error.code in (401, 403) else ""
            raise EncoderError(
                f"{self.url}{path} refused the request ({error.code} {said}){hint}"
            ) from error
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise _PassingError(str(reason) or type(error).__name__) from error
        except ValueError as error:
            raise EncoderError(
                f"{self.url}{path} did not answer in JSON ({error}); is it vLLM's address?"
            ) from error


class _PassingError(Exception):
    """Worth another try, after ``seconds`` if the server said so."""

    def __init__(self, said: str, seconds: float = 0.0) -> None:
        super().__init__(said)
        self.seconds = seconds


def _seconds(error: urllib.error.HTTPError) -> float:
    """The server's Retry-After, within reason."""
    try:
        return min(max(float(error.headers.get("Retry-After", 0)), 0.0), _LONGEST_WAIT)
    except ValueError:
        return 0.0
