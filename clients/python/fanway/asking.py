"""Asking: one listener and its answer, or all who listen at a pattern and their answers as they come."""

from __future__ import annotations

import base64
import json as json_
import re
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import httpx

from fanway.address import encode_address
from fanway.channel import innermost, unreachable
from fanway.connect import Gateway
from fanway.errors import ConnectionLostError, RelayError, RelayTimeoutError, from_answer, from_status
from fanway.event import Data, as_payload
from fanway.exchange import Headers
from fanway.listener_wire import instance_fields

DEFAULT_WAIT_SECONDS = 10.0  # the gateway's
PATIENCE_SECONDS = 15.0  # with a gateway that should have said something by then
_JSON_TYPE = re.compile(r"(?:application|text)/json|[^/\s]+/[^/\s]+\+json")
_WILDCARD = re.compile(r"/\*.*")


@dataclass(frozen=True, slots=True)
class Answer:
    """A listener's answer to `ask`, whatever its status."""

    status: int
    headers: Mapping[str, str]
    content: bytes = field(repr=False)
    reason: str = ""

    @property
    def text(self) -> str:
        """The body as UTF-8."""
        return self.content.decode()

    def json(self) -> Any:
        """The body read as JSON; raises ValueError if it is not."""
        return json_.loads(self.content)


class Who(NamedTuple):
    """A listener: where it listens, its id, and its instance name if it has one."""

    address: str
    listener: str | None
    instance: str | None


@dataclass(frozen=True, slots=True)
class ListenerAnswer(Answer):
    """One listener's answer to `ask_all`, whatever its status; or `error`, if it gave none.

    `listener` is the id under which it registered, `instance` its name; of its headers there is the content type.
    """

    address: str = ""
    listener: str | None = None
    instance: str | None = None
    error: RelayError | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """How `ask_all` went. `why` it ended: "all" (have answered or failed), "max", "first", "wait" or "stall".

    `missing` names, up to a hundred, those who were asked and had neither answered nor failed by then.
    """

    asked: int
    answered: int
    failed: int
    missing: tuple[Who, ...]
    why: str


class StopRules(NamedTuple):
    """When enough was heard: after so many answers, seconds in all, seconds since the last one, or a good one."""

    max: int | None = None
    wait: float | None = None
    stall: float | None = None
    first: bool = False

    def query(self) -> dict[str, str]:
        said = {"max": self.max, "wait": _seconds(self.wait), "stall": _seconds(self.stall)}
        return {name: str(value) for name, value in said.items() if value is not None} | (
            {"first": "true"} if self.first else {}
        )


class Asking:
    """An asynchronous iterator of answers; made by `Relay.ask_all`. Once it has ended, `summary` tells how it went.

    Who leaves the `async for` early calls `close()`, or uses `async with`: then the gateway stops too.
    """

    def __init__(self, opener: Callable[[], Awaitable[httpx.Response]]) -> None:
        self.summary: Summary | None = None
        self._opener = opener
        self._stream: httpx.Response | None = None
        self._pieces: AsyncIterator[bytes] | None = None
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._is_closed = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ListenerAnswer:
        if not self._is_closed:
            members = json_.loads(await self._line())
            if members["type"] != "summary":
                return _answer(members)
            self.summary = _summary(members)
        await self.close()
        raise StopAsyncIteration

    async def close(self) -> None:
        """Stop: nothing more is asked or heard."""
        self._is_closed = True
        if self._stream is not None:
            await self._stream.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _line(self) -> bytes:
        """The next line, which only a line feed ends."""
        if self._pieces is None:
            self._stream = await self._opener()
            self._pieces = self._stream.aiter_bytes()
        try:
            while not self._lines:
                *lines, self._rest = (self._rest + await anext(self._pieces)).split(b"\n")
                self._lines.extend(lines)
        except httpx.TimeoutException:
            raise RelayTimeoutError("The gateway did not end the answers in time.") from None
        except (StopAsyncIteration, httpx.RequestError):
            raise ConnectionLostError("The gateway broke off before all answers were here.") from None
        return self._lines.popleft()


class Question(NamedTuple):
    """What is asked, whomever it goes to."""

    data: Data
    method: str | None
    headers: Mapping[str, str] | None
    instance: str | None

    def parts(self, gateway: Gateway, place: str) -> tuple[str, dict[str, str], bytes | None]:
        """Method, headers with a token for `place`, and body."""
        fields = {"ServiceBusAuthorization": gateway.token(gateway.credential.scope or place)}
        fields |= instance_fields(self.instance)
        payload: bytes | None = None
        if self.data is not None:
            payload, _, kind = as_payload(self.data)
            if kind:
                fields["Content-Type"] = kind
        fields.update(self.headers or {})
        return self.method or ("GET" if payload is None else "POST"), fields, payload


async def ask_one(
    gateway: Gateway, client: httpx.AsyncClient, address: str, suffix: str, question: Question, seconds: float
) -> Answer:
    """The answer of one listener at an address; `suffix` is what follows it. Raises RelayError."""
    verb, fields, payload = question.parts(gateway, address)
    url = f"{gateway.url}/{encode_address(address)}{suffix}"
    try:
        answer = await client.request(verb, url, content=payload, headers=fields, timeout=seconds)
    except httpx.TimeoutException:
        raise RelayTimeoutError(f"No answer from {address} within {seconds:g} s.") from None
    except httpx.RequestError as error:
        raise unreachable(gateway.url, innermost(error)) from None
    if answer.status_code >= 400 and "via" not in answer.headers:  # only listeners' answers carry Via
        raise _refusal(answer)
    return Answer(answer.status_code, answer.headers, answer.content, answer.reason_phrase)


def ask_all(
    gateway: Gateway,
    client: Callable[[], httpx.AsyncClient],
    pattern: str,
    question: Question,
    rules: StopRules,
    before: Callable[[], Awaitable[None]],
) -> Asking:
    """All who listen at a checked pattern, being asked with the first step of the iteration, after `before`."""
    url = f"{gateway.url}/-/ask/{encode_address(pattern)}"
    seconds = (DEFAULT_WAIT_SECONDS if rules.wait is None else rules.wait) + PATIENCE_SECONDS
    timeout = httpx.Timeout(PATIENCE_SECONDS, read=seconds)

    async def opener() -> httpx.Response:
        await before()
        verb, fields, payload = question.parts(gateway, _WILDCARD.sub("", pattern))
        request = client().build_request(
            verb, url, params=rules.query(), content=payload, headers=fields, timeout=timeout
        )
        try:
            stream = await client().send(request, stream=True)
        except httpx.TimeoutException:
            raise RelayTimeoutError(f"No answer from {gateway.url} within {seconds:g} s.") from None
        except httpx.RequestError as error:
            raise unreachable(gateway.url, innermost(error)) from None
        if stream.status_code != 200:
            await stream.aread()
            raise _refusal(stream)
        return stream

    return Asking(opener)


def _answer(line: Mapping[str, Any]) -> ListenerAnswer:
    who = _who(line)
    if (error := line.get("error")) is not None:
        status = int(error["status"])
        cause = from_status(status, str(error["message"]), code=str(error["code"]))
        return ListenerAnswer(status, Headers(), b"", "", *who, error=cause)
    kind = line.get("content_type")
    if "data_base64" in line:
        content = base64.b64decode(line["data_base64"])
    elif "data" not in line:
        content = b""
    elif kind and _JSON_TYPE.fullmatch(kind.partition(";")[0].strip().lower()):
        content = json_.dumps(line["data"], ensure_ascii=False, separators=(",", ":")).encode()
    else:
        content = str(line["data"]).encode()
    return ListenerAnswer(int(line["status"]), Headers({"Content-Type": kind} if kind else {}), content, "", *who)


def _summary(line: Mapping[str, Any]) -> Summary:
    missing = tuple(_who(each) for each in line["missing"])
    return Summary(line["asked"], line["answered"], line["failed"], missing, line["why"])


def _who(members: Mapping[str, Any]) -> Who:
    return Who(members["address"], members.get("listener"), members.get("instance"))


def _refusal(answer: httpx.Response) -> RelayError:
    return from_answer(answer.status_code, answer.reason_phrase, answer.content, answer.headers.get("retry-after"))


def _seconds(value: float | None) -> str | None:
    return None if value is None else f"{value:.6f}".rstrip("0").rstrip(".")
