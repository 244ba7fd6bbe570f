"""The receivers of docs/receivers, run as they stand: what is genuine they take once, everything else they refuse."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from programs import require

from app.push.signature import key_of, new_secret, signature_of

RECEIVERS = Path(__file__).parents[3] / "docs" / "receivers"


ABOUT = {"ce-type": "made", "ce-fanwayaddress": "orders/7"}


@dataclass
class Receiver:
    """A running receiver; `secret` is one of its two."""

    url: str
    secret: str
    process: subprocess.Popen[str]

    def post(
        self,
        body: bytes = b"payload",
        *,
        id: str = "msg_1",
        age: float = 0,
        sent: bytes | None = None,
        secret: str | None = None,
        signature: str | None = None,
        about: dict[str, str] = ABOUT,
    ) -> int:
        timestamp = int(time.time() - age)
        headers = {
            "webhook-id": id,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signature or signature_of([key_of(secret or self.secret)], id, timestamp, body),
            **about,
        }
        return httpx.post(
            self.url, headers=headers, content=body if sent is None else sent, trust_env=False
        ).status_code

    def lines(self) -> list[str]:
        """What it has handled; it ends by this."""
        self.process.terminate()
        return self.process.communicate(timeout=30)[0].splitlines()


@pytest.fixture(params=["python", "node"])
def receiver(request: pytest.FixtureRequest) -> Iterator[Receiver]:
    secret = new_secret()
    if request.param == "python":
        command = [sys.executable, str(RECEIVERS / "receiver.py"), "0"]
    else:
        command = [require("node"), str(RECEIVERS / "receiver.mjs"), "0"]
    environment = {"FANWAY_PUSH_SECRET": f"{new_secret()} {secret}"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        yield Receiver(process.stdout.readline().strip(), secret, process)
        process.kill()


def test_a_receiver_agrees_to_who_asks(receiver: Receiver) -> None:
    answer = httpx.options(receiver.url, headers={"WebHook-Request-Origin": "relay.example"}, trust_env=False)
    assert answer.status_code == 200
    assert answer.headers["WebHook-Allowed-Origin"] == "relay.example"
    assert answer.headers["WebHook-Allowed-Rate"] == "*"


def test_a_genuine_delivery_is_handled_once_and_its_replay_is_not(receiver: Receiver) -> None:
    """S64: the replay is answered as the first was, since the relay may have lost that answer."""
    assert [receiver.post(), receiver.post(), receiver.post(id="msg_2")] == [204, 204, 204]
    assert [line.split(" ")[:3] for line in receiver.lines()] == [
        ["msg_1", "made", "orders/7"],
        ["msg_2", "made", "orders/7"],
    ]


def test_of_an_event_in_structured_mode_the_body_says_all(receiver: Receiver) -> None:
    assert receiver.post(b'{"type":"made"}', about={"Content-Type": "application/cloudevents+json"}) == 204
    [line] = receiver.lines()
    assert (line.split(" ")[0], '{"type":"made"}' in line) == ("msg_1", True)
    assert "None" not in line
    assert "undefined" not in line


def test_what_is_not_genuine_or_not_fresh_is_refused(receiver: Receiver) -> None:
    """S64: a changed body, another secret, an old timestamp, no signature."""
    assert receiver.post(sent=b"changed") == 401
    assert receiver.post(secret=new_secret()) == 401
    assert receiver.post(age=400) == 401
    assert receiver.post(age=-400) == 401
    assert receiver.post(signature="v1,") == 401
    assert receiver.post(signature="v2,AAAA") == 401
    assert receiver.post(body=b"") == 204
    assert len(receiver.lines()) == 1
