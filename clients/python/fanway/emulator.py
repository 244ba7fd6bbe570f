"""A gateway for tests: `fanway serve --emulator` in a process of its own, on free ports, told what to do by calls.

It needs the distribution `fanway-gateway` in the same environment. Tests with pytest take the fixture
`fanway_emulator` (`fanway.pytest_plugin`) instead.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

import httpx

from fanway.errors import ConfigurationError, from_answer
from fanway.relay import Relay, connect

STOP_SECONDS = 15.0
CALL_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Emulator:
    """A running emulator. `connection_string` is what Azure's SDKs take, by TLS; they must trust `ca`, a PEM file."""

    url: str
    tls_url: str
    ca: Path
    key_name: str
    key: str
    connection_string: str
    _client: httpx.Client = field(repr=False, compare=False)

    def connect(self) -> Relay:
        """A Relay with all rights, to be used as `async with emulator.connect() as relay`."""
        return connect(self.url, key_name=self.key_name, key=self.key)

    def advance(self, seconds: float) -> datetime:
        """Move its clock: tokens expire, deadlines pass. Backward only the time of day changes. The new time."""
        return self._clock({"advance": seconds})

    def set_time(self, moment: datetime) -> datetime:
        """Let it be that time; a naive one is taken as UTC."""
        return self._clock({"now": moment.isoformat()})

    def refuse(
        self,
        relay: str,
        action: Literal["listen", "connect", "request"],
        *,
        status: int = 503,
        message: str = "",
        times: int = 1,
    ) -> None:
        """Refuse the next `times` calls (0: all) at a relay and below it."""
        fault = {"kind": "refuse", "relay": relay, "action": action, "status": status, "message": message}
        self._call("POST", "faults", {**fault, "times": times})

    def delay(self, relay: str, action: Literal["accept", "request"], seconds: float, *, times: int = 1) -> None:
        """Hold up the next `times` commands (0: all) to listeners of a relay."""
        self._call(
            "POST", "faults", {"kind": "delay", "relay": relay, "action": action, "seconds": seconds, "times": times}
        )

    def clear_faults(self) -> None:
        """Let everything go as it should again."""
        self._call("DELETE", "faults")

    def drop(self, relay: str, *, listener: str | None = None, code: int | None = None, reason: str = "") -> int:
        """Cut the control channels of a relay, or that of the listener with this id; how many there were.

        Without `code` as if the cable were pulled, else with a Close of that code.
        """
        body = {"relay": relay, "listener": listener, "code": code, "reason": reason}
        return int(self._call("POST", "drop", body)["dropped"])

    def expire(self, token: str) -> int:
        """Let a token be expired from now; how many connections ended by it."""
        return int(self._call("POST", "expire", {"token": token})["ended"])

    def reset(self) -> None:
        """As after a start: nothing provisioned, nobody connected, the real time, no faults."""
        self._call("POST", "reset")

    def _clock(self, body: dict[str, Any]) -> datetime:
        return datetime.fromisoformat(self._call("POST", "clock", body)["now"].replace("Z", "+00:00"))

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = self._client.request(method, f"{self.url}/-/emulator/{path}", json=body)
        if answer.is_error:
            raise from_answer(answer.status_code, answer.reason_phrase, answer.content)
        return answer.json() if answer.content else None


@contextmanager
def start_emulator(arguments: Sequence[str] = ()) -> Iterator[Emulator]:
    """Start one and stop it when the block ends; `arguments` are further ones of `fanway serve`.

    Raises ConfigurationError with the gateway's own words when it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="fanway-") as folder, tempfile.TemporaryFile() as log:
        command = [sys.executable, "-m", "fanway", "serve", "--emulator", "--json", "--listen", "127.0.0.1:0"]
        process = subprocess.Popen([*command, "--data", folder, *arguments], stdout=subprocess.PIPE, stderr=log)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                process.wait()
                log.seek(0)
                raise ConfigurationError(f"The emulator did not start: {log.read().decode(errors='replace').strip()}")
            ready = json.loads(line)
            with httpx.Client(trust_env=False, timeout=CALL_SECONDS) as client:
                yield Emulator(
                    ready["url"],
                    ready["tls_url"] or "",
                    Path(ready["ca"] or ""),
                    ready["key_name"],
                    ready["key"],
                    ready["connection_string"],
                    client,
                )
        finally:
            _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()
