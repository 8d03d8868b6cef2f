"""The control API of a running simulator, as a command of a shell asks it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

CONTROL_FILE = Path(".run") / "simulator.url"
"""Where `gw-run --sim` leaves the control URL, in the folder that it runs in."""

_TIMEOUT_S = 30.0  # a full machine is slow, and still answers


class ControlError(Exception):
    """One sentence that says what to do, and the exit code: 1 if nobody answers, 2 if the request is wrong."""

    def __init__(self, text: str, code: int) -> None:
        super().__init__(text)
        self.code = code


class ControlClient:
    """`url`: what the user gave; else the simulator of this folder."""

    def __init__(self, url: str | None) -> None:
        found = url or _of_this_folder()
        if not found.startswith("http://"):
            raise ControlError(f"--control must be an http:// URL, not {found!r}", 2)
        self._url = found.rstrip("/")

    def get(self, path: str) -> Any:  # noqa: ANN401 - JSON
        """Ask; raises ControlError."""
        return self._call(urllib.request.Request(self._url + path))  # noqa: S310 - the scheme is checked above

    def post(self, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """Have something done; raises ControlError."""
        data, headers = json.dumps(body).encode(), {"Content-Type": "application/json"}
        return self._call(urllib.request.Request(self._url + path, data, headers))  # noqa: S310 - as above

    def _call(self, request: urllib.request.Request) -> Any:  # noqa: ANN401 - JSON
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310 - as above
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise ControlError(f"the simulator refused: {_sentence(error.read())}", 2) from None
        except ValueError:
            raise ControlError(f"what answers at {self._url} is no simulator's control API", 2) from None
        except OSError as error:
            reason = getattr(error, "reason", error)
            raise ControlError(f"no simulator answers at {self._url}: {reason}; does it run?", 1) from None


def _of_this_folder() -> str:
    try:
        return CONTROL_FILE.read_text(encoding="utf-8").strip()
    except OSError:
        raise ControlError(
            "where is the simulator? `gw-run --sim` started in this folder is found by itself;"
            " else give --control URL (GW_SIM_CONTROL): gw-run and gw-sim print it when they start",
            2,
        ) from None


def _sentence(body: bytes) -> str:
    try:
        return str(json.loads(body)["error"])
    except (ValueError, KeyError, TypeError):
        return body.decode(errors="replace")
