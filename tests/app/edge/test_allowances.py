"""What a relay says for itself, and what the settings say where it is silent."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from websockets.exceptions import InvalidStatus
from wires import answering, ask, frame, masked, until, upgraded
from worlds import Listener, Request, World, running_gateway

from app.config import Deadlines, Limits
from app.edge import sockets
from app.edge.control import ControlChannel
from app.wire.azure.choices import Choices
from app.wire.frames import BINARY, TEXT

RELAYS = [
    {
        "name": "brisk",
        "profile": "hybridConnection",
        "requiresClientAuthorization": False,
        "deadlines": {"acceptSeconds": 0.1, "responseSeconds": 0.1, "idleSeconds": 0.1},
    },
    {"name": "calm", "profile": "hybridConnection", "requiresClientAuthorization": False},
    {"name": "few", "profile": "hybridConnection", "maxListeners": 1},
    {"name": "verbatim", "profile": "hybridConnection", "requiresClientAuthorization": False, "keepsPath": True},
    {"name": "own"},
]
ID = "11111111-1111-4111-8111-111111111111"


async def never(*_: object) -> None:
    """A listener's handler that does nothing."""


async def test_a_relays_own_deadlines_go_before_the_settings(tmp_path: Path) -> None:
    """Accept, fetch, response, idle: the brisk one's pass while nothing of the settings' has."""
    async with running_gateway(tmp_path, relays=RELAYS, deadlines=Deadlines(accept_seconds=600)) as world:
        silent = await world.listen("brisk", on_accept=never, on_request=never)
        with pytest.raises(InvalidStatus) as refused:
            await world.connect("brisk", additional_headers={})
        assert refused.value.response.status_code == 404
        assert (await world.client.get("/brisk")).status_code == 504  # response
        await silent.socket.close()
        await upgraded(world, "/$hc/brisk?sb-hc-action=listen")
        answer = await world.client.post("/brisk", content=bytes(100_000))  # fetch
        assert answer.status_code == 504
        assert "accepted the connection within the allowed timeout" in answer.reason_phrase


async def test_an_answer_that_stops_is_cut_at_the_relays_own_idle_deadline(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        channel = await upgraded(world, "/$hc/brisk?sb-hc-action=listen")
        sender = await ask(world, "/brisk")
        _, _, text = await frame(channel)
        request = json.loads(text)["request"]
        answer = {"response": {"requestId": request["id"], "statusCode": 200, "body": True}}
        await channel.send(masked(TEXT, json.dumps(answer).encode()) + masked(BINARY, b"begun", fin=False))
        rest = await sender.rest()
        assert b"begun" in rest
        assert not rest.endswith(b"0\r\n\r\n")


async def test_a_relay_may_keep_every_escape_of_the_path(tmp_path: Path) -> None:
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        for name, passed in (("verbatim", "/verbatim/a%20b%41?x=%20"), ("calm", "/calm/a bA?x=%20")):
            listener = await world.listen(name)
            await (await ask(world, f"/{name}/a%20b%41?x=%20&sb-hc-id=1")).answer()
            assert listener.requests[0]["requestTarget"] == passed


async def test_25_may_listen_on_azures_profiles_and_any_number_on_our_own(tmp_path: Path) -> None:
    """C12"""
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        for _ in range(25):
            await upgraded(world, "/$hc/calm?sb-hc-action=listen")
            await upgraded(world, "/$hc/own?sb-hc-action=listen")
        await upgraded(world, "/$hc/own?sb-hc-action=listen")
        with pytest.raises(InvalidStatus) as refused:
            await world.listen("calm")
        response = refused.value.response
        assert response.status_code == 403
        assert "QuotaExceeded" in response.reason_phrase
        assert "MaximumListenersPerEndpoint" in response.reason_phrase


async def test_a_relays_own_quota_and_the_status_of_its_refusal_can_be_chosen(tmp_path: Path) -> None:
    azure = Choices(too_many_listeners=503)
    limits = Limits(listeners=0, native_listeners=1)
    async with running_gateway(tmp_path, relays=RELAYS, limits=limits, azure=azure) as world:
        for path in ("few", "own"):
            await world.listen(path)
            with pytest.raises(InvalidStatus) as refused:
                await world.listen(path)
            assert refused.value.response.status_code == 503
        for _ in range(30):
            await upgraded(world, "/$hc/calm?sb-hc-action=listen")


async def test_a_listener_that_returns_takes_the_place_of_the_one_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While there is room both are there; at the quota the old one goes, and nobody else."""
    monkeypatch.setattr(sockets, "SETTLED_SECONDS", 0.0)
    async with running_gateway(tmp_path, relays=RELAYS, limits=Limits(listeners=3)) as world:
        roster = world.gateway.context.realms[world.namespace].roster
        other = await world.listen("calm")
        lost = await world.listen("calm", query=f"&sb-hc-id={ID}")
        again = await world.listen("calm", query=f"&sb-hc-id={ID}_G7")
        assert roster.count("calm") == 3
        third = await world.listen("calm", query=f"&sb-hc-id={ID.upper()}_G1")
        assert roster.count("calm") == 3
        code, reason = await lost.closed()
        assert (code, (reason or "").partition(" TrackingId:")[0]) == (
            1008,
            "Another listener with the same sb-hc-id took this one's place.",
        )
        for query in ("", "&sb-hc-id=_G1", "&sb-hc-id=22222222-1111-4111-8111-111111111111"):
            with pytest.raises(InvalidStatus):
                await world.listen("calm", query=query)
        assert {other.socket.close_code, again.socket.close_code, third.socket.close_code} == {None}


async def test_two_that_have_one_id_do_not_take_each_others_place_without_end(tmp_path: Path) -> None:
    """One SDK opens two control channels at once when it has lost one."""
    async with running_gateway(tmp_path, relays=RELAYS, limits=Limits(listeners=1)) as world:
        first = await world.listen("calm", query=f"&sb-hc-id={ID}")
        with pytest.raises(InvalidStatus, match="403"):
            await world.listen("calm", query=f"&sb-hc-id={ID}")
        assert first.socket.close_code is None


async def test_a_control_channel_ends_after_its_life_and_the_listener_returns(tmp_path: Path) -> None:
    """C17: on Azure's profiles only; sockets under way live on; a token does not lengthen it."""
    async with running_gateway(tmp_path, relays=RELAYS) as world:
        old, native = await world.listen("calm", headers=world.auth(seconds=1e6)), await world.listen("own")
        async with world.connect("calm", additional_headers={}) as socket:
            world.clock.offset = 86_399
            for live in list(world.gateway.context.lives):
                if isinstance(live, ControlChannel) and live.relay.name == "calm":
                    live.review()
            await (await old.socket.ping())
            world.clock.offset = 86_401
            for live in list(world.gateway.context.lives):
                if isinstance(live, ControlChannel) and live.relay.name == "calm":
                    live.review()
            code, reason = await old.closed()
            assert code == 1011
            assert (reason or "").startswith("NameRenewalFailed: ")
            await socket.send("still here")
            assert await socket.recv() == "still here"
        await world.listen("calm", on_request=answering(b"back"))
        assert (await world.client.get("/calm")).content == b"back"
        assert native.socket.close_code is None


async def test_the_life_of_a_channel_passes_on_the_wheel(tmp_path: Path) -> None:
    deadlines = Deadlines(channel_seconds=0.2)
    async with running_gateway(tmp_path, relays=RELAYS, deadlines=deadlines) as world:
        listener = await world.listen("calm")
        assert (await listener.closed())[0] == 1011


async def test_no_listener_is_told_as_the_user_chose(tmp_path: Path) -> None:
    azure = Choices(no_listener_request=502, no_listener_words="Nobody is in.")
    async with running_gateway(tmp_path, relays=RELAYS, azure=azure) as world:
        answer = await world.client.get("/calm")
        assert (answer.status_code, answer.reason_phrase[:13]) == (502, "Nobody is in.")
        assert "<Code>502</Code>" in answer.text
        with pytest.raises(InvalidStatus) as refused:
            await world.connect("calm", additional_headers={})
        assert (refused.value.response.status_code, refused.value.response.reason_phrase[:13]) == (404, "Nobody is in.")


async def test_a_gateway_error_of_a_listener_passes_unless_that_is_not_wanted(tmp_path: Path) -> None:
    for passes, words in ((True, "mine"), (False, "The listener may not answer 504.")):
        azure = Choices(relays_gateway_errors=passes)
        async with running_gateway(tmp_path / str(passes), relays=RELAYS, azure=azure) as world:
            await world.listen("calm", on_request=answering(b"", 504, "mine"))
            answer = await world.client.get("/calm")
            assert (answer.status_code, answer.reason_phrase.startswith(words)) == (504 if passes else 502, True)


async def test_a_sender_may_name_its_request_and_no_two_get_one_id(world: World) -> None:
    """The GUID leads; what is no GUID is replaced; an error is told under the sender's id too."""
    listener = await world.listen("open")
    for _ in range(2):
        await world.client.get(f"/open?sb-hc-id={ID}_G5&a=1")
    await world.client.get("/open?sb-hc-id=mine")
    ids = [request["id"] for request in listener.requests]
    assert all(id.startswith(f"{ID}_G0_") for id in ids[:2])
    assert len(set(ids)) == 3
    assert "mine" not in ids[2]
    assert all(f"sb-hc-id={id}&" in request["address"] for id, request in zip(ids, listener.requests, strict=True))
    await listener.socket.close()
    await until(lambda: not world.gateway.context.realms[world.namespace].roster.count("open"))
    answer = await world.client.get(f"/open?sb-hc-id={ID}")
    assert answer.headers["TrackingId"] == f"{ID}_G0"
    with pytest.raises(InvalidStatus) as refused:
        await world.connect(f"open?sb-hc-action=connect&sb-hc-id={ID}_G3", additional_headers={})
    assert refused.value.response.headers["TrackingId"] == f"{ID}_G0"


async def test_many_requests_under_one_name_each_get_their_own_answer(world: World) -> None:
    async def on_request(listener: Listener, request: Request, body: bytes, socket: object) -> None:
        await asyncio.sleep(0)
        await listener.respond(request, socket, request["requestTarget"].encode())  # type: ignore[arg-type]

    await world.listen("open", on_request=on_request)
    answers = await asyncio.gather(*(world.client.get(f"/open/{n}?sb-hc-id={ID}") for n in range(20)))
    assert [answer.text for answer in answers] == [f"/open/{n}" for n in range(20)]
