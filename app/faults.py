"""Faults that the emulator makes on demand: calls that are refused, commands to listeners that are held up.

Only an emulator has them (`Context.faults`); each is spent after as many uses as it was made for.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from app.errors import InjectedFault
from app.namespace import Namespace, fold

Refusable = Literal["listen", "connect", "request"]
Delayable = Literal["accept", "request"]


@dataclass(slots=True)
class Fault:
    """What becomes of the next `times` calls (0: of all) of one kind at a relay and below it.

    `seconds` None: the call is refused with `status` and `message`; else the command to the listener waits so long.
    """

    relay: str
    action: str
    times: int
    status: int = 503
    message: str = ""
    seconds: float | None = None

    def meets(self, action: str, path: str) -> bool:
        """Whether this call is one of them; `path` is a decoded address."""
        held, wanted = fold(self.relay), fold(path)
        return self.action == action and (wanted == held or wanted.startswith(held + "/"))


class Faults:
    """Those that wait for their calls, by namespace, in the order they were made."""

    def __init__(self) -> None:
        self._pending: dict[Namespace, list[Fault]] = {}

    def add(self, namespace: Namespace, fault: Fault) -> None:
        self._pending.setdefault(namespace, []).append(fault)

    def pending(self, namespace: Namespace) -> list[Fault]:
        """Those not spent yet."""
        return list(self._pending.get(namespace, ()))

    def clear(self) -> None:
        """Everything goes as it should again."""
        self._pending.clear()

    def refuse(self, namespace: Namespace, action: Refusable, path: str) -> None:
        """Raise `InjectedFault` where this call is to be refused."""
        fault = self._take(namespace, action, path, is_delay=False)
        if fault is not None:
            raise InjectedFault(fault.message or "The emulator was told to refuse this.", status=fault.status)

    def delay(self, namespace: Namespace, action: Delayable, path: str) -> float:
        """For how many seconds the command to a listener at this address is to be held up."""
        fault = self._take(namespace, action, path, is_delay=True)
        return 0.0 if fault is None or fault.seconds is None else fault.seconds

    def _take(self, namespace: Namespace, action: str, path: str, *, is_delay: bool) -> Fault | None:
        pending = self._pending.get(namespace, [])
        for fault in pending:
            if (fault.seconds is not None) is is_delay and fault.meets(action, path):
                if fault.times == 1:
                    pending.remove(fault)
                elif fault.times:
                    fault.times -= 1
                return fault
        return None
