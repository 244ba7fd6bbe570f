"""The `fanway` command as a process of its own, against a running gateway."""

from __future__ import annotations

import asyncio
import json
import signal

from shells import Shell, line_of


async def test_what_is_published_is_printed_by_who_subscribes(shell: Shell) -> None:
    subscriber = await shell.start("subscribe", "orders/**", "--count", "2")
    assert "subscribed to orders/**" in await line_of(subscriber.stderr)
    published = await shell.run("publish", "orders/eu/7", '{"total": 42}')
    assert published.code == 0
    receipt = json.loads(published.out)
    assert (receipt["matched"], receipt["queued"]) == (1, 1)
    assert (await shell.run("publish", "orders/\x1b[31m".replace("\x1b", ""), "-", stdin=b"\x1b[2Jtext")).code == 0
    assert await line_of(subscriber.stdout) == 'orders/eu/7\t{"total": 42}\n'
    assert await line_of(subscriber.stdout) == "orders/[31m\t\\x1b[2Jtext\n"
    assert await asyncio.wait_for(subscriber.wait(), 10) == 0


async def test_lines_are_events_and_history_is_read_as_json(shell: Shell) -> None:
    published = await shell.run("publish", "orders/log", "-", "--lines", "--type", "line", stdin=b"one\r\ntwo\nthree")
    assert [json.loads(line)["matched"] for line in published.out.splitlines()] == [0, 0, 0]
    read = await shell.run("subscribe", "orders/*", "--from", "start", "--json", "--count", "3")
    events = [json.loads(line) for line in read.out.splitlines()]
    assert [(event["data"], event["type"], event["address"]) for event in events] == [
        ("one", "line", "orders/log"),
        ("two", "line", "orders/log"),
        ("three", "line", "orders/log"),
    ]


async def test_conditions_narrow_what_is_printed(shell: Shell) -> None:
    for type in ("order.created", "order.paid", "price.changed"):
        assert (await shell.run("publish", "orders/1", type, "--type", type)).code == 0
    start = ("subscribe", "orders/**", "--from", "start", "--count", "1")
    exact = await shell.run(*start, "--where", "type=order.paid")
    assert exact.out == "orders/1\torder.paid\n"
    both = await shell.run(*start, "--where-suffix", "type=d", "--filter", '{"not": {"prefix": {"type": "order."}}}')
    assert both.out == "orders/1\tprice.changed\n"
    refused = await shell.run(*start, "--filter", '{"sql": "true"}')
    assert refused.code == 1
    assert "'sql' is not one of" in refused.err


async def test_a_subscriber_that_waits_in_vain_fails(shell: Shell) -> None:
    done = await shell.run("subscribe", "orders/**", "--count", "1", "--timeout", "0.2")
    assert done.code == 1
    assert "0 of 1 events" in done.err


async def test_an_interrupt_is_quiet(shell: Shell) -> None:
    subscriber = await shell.start("subscribe", "orders/**")
    await line_of(subscriber.stderr)
    subscriber.send_signal(signal.SIGINT)
    async with asyncio.timeout(10):
        out, err = await subscriber.communicate()
    assert (subscriber.returncode, out, err.strip()) == (130, b"", b"")


async def test_a_listener_that_is_terminated_says_goodbye(shell: Shell) -> None:
    """So it is gone at once, and not awaited back for a minute."""
    watcher = await shell.start("subscribe", "--json", "--count", "2", "--", "-/sys/status/shop")
    await line_of(watcher.stderr)
    listener = await shell.start("listen", "shop", "--to", "-")
    assert json.loads(await line_of(watcher.stdout))["type"] == "fanway.listener.online"
    listener.send_signal(signal.SIGTERM)
    assert json.loads(await line_of(watcher.stdout))["type"] == "fanway.listener.offline"
    async with asyncio.timeout(10):
        assert await listener.wait() == -signal.SIGTERM


async def test_who_is_there_is_listed(shell: Shell) -> None:
    subscriber = await shell.start("subscribe", "orders/**")
    await line_of(subscriber.stderr)
    listener = await shell.start("listen", "shop/price", "--to", "-", "--instance", "till-1")
    await line_of(listener.stderr)
    lines = [line.split("\t") for line in (await shell.run("relay", "who")).out.splitlines()]
    assert [line[:3] for line in lines] == [
        ["subscriber", "orders/**", "fanway.v1"],
        ["listener", "shop/price", "websocket"],
    ]
    assert (lines[1][4], lines[1][6]) == ("127.0.0.1", "till-1")
    [only] = (await shell.run("relay", "who", "shop", "--listeners", "--json")).out.splitlines()
    assert json.loads(only)["address"] == "shop/price"
    assert (await shell.run("relay", "who", "shop", "--subscribers")).out == ""
    assert (await shell.run("relay", "who", "nowhere")).code == 1


async def test_a_listener_on_standard_output_prints_requests(shell: Shell) -> None:
    listener = await shell.start("listen", "shop", "--to", "-")
    assert "listening at" in await line_of(listener.stderr)
    assert (await shell.run("ask", "shop", "hello", "--path", "/x?y=1")).code == 0
    assert await line_of(listener.stdout) == "POST /shop/x?y=1\thello\n"


async def test_a_handler_in_a_file_answers(shell: Shell) -> None:
    (shell.folder / "prices.py").write_text(
        "async def app(request):\n    return {'sku': (await request.json())['sku']}\n"
    )
    listener = await shell.start("listen", "shop/price", "--to", "prices:app")
    await line_of(listener.stderr)
    answer = await shell.run("ask", "shop/price", '{"sku": 7}')
    assert (answer.code, answer.out) == (0, '{"sku":7}')


async def test_one_of_several_listeners_is_chosen_by_its_name(shell: Shell) -> None:
    listeners = {}
    for name in ("oslo", "bergen"):
        listeners[name] = await shell.start("listen", "shop", "--to", "-", "--instance", name)
        await line_of(listeners[name].stderr)
    for name in ("bergen", "oslo", "bergen"):
        assert (await shell.run("ask", "shop", f"for {name}", "--instance", name)).code == 0
        assert await line_of(listeners[name].stdout) == f"POST /shop\tfor {name}\n"
        assert (await shell.run("open", "shop", "--instance", name, stdin=b"hello")).code == 0
        assert await line_of(listeners[name].stdout) == "SOCKET /shop\thello\n"
    done = await shell.run("ask", "shop", "--instance", "tromso")
    assert (done.code, "is the instance 'tromso'" in done.err) == (1, True)
    assert "is no instance name" in (await shell.run("listen", "shop", "--to", "-", "--instance", "a b")).err


async def test_all_are_asked_and_one_of_them_is_missing(shell: Shell) -> None:
    """W15"""
    (shell.folder / "plant.py").write_text(
        "import asyncio\n\n"
        "async def well(request):\n    return {'up': True, 'heard': await request.text()}\n\n"
        "async def slow(request):\n    await asyncio.sleep(60)\n"
    )
    for place, handler in (("a", "well"), ("b", "slow"), ("c", "well")):
        target = ("--to", f"plant:{handler}", "--instance", f"{place}-1")
        listener = await shell.start("listen", f"shop/{place}/status", *target)
        assert "listening at" in await line_of(listener.stderr)
    done = await shell.run("ask", "--all", "shop/*/status", "how?", "--wait", "3s")
    assert sorted(done.out.splitlines()) == [
        f'shop/{place}/status\t{place}-1\t200\t{{"up":true,"heard":"how?"}}' for place in "ac"
    ]
    assert done.err == "2 of 3 answered, 1 missing: shop/b/status (b-1) (ended by: wait)\n"
    assert done.code == 0
    whole = await shell.run("ask", "--all", "shop/*/status", "--max", "1", "--json")
    [answer] = [json.loads(line) for line in whole.out.splitlines()]
    assert (answer["status"], json.loads(answer["data"])["heard"]) == (200, "")
    nobody = await shell.run("ask", "--all", "shop/b/*", "--wait", "300ms")
    assert (nobody.code, nobody.out) == (1, "")
    assert nobody.err.splitlines()[-1] == "fanway: Nobody answered."


async def test_asking_nobody_fails_with_a_tracking_id(shell: Shell) -> None:
    done = await shell.run("ask", "shop")
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert "tracking id" in done.err


async def test_open_joins_standard_input_and_output_with_half_close(shell: Shell) -> None:
    """R16"""

    async def reverse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write((await reader.read())[::-1])
        writer.close()

    server = await asyncio.start_server(reverse, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    listener = await shell.start("listen", "shop", "--to", f"tcp://127.0.0.1:{port}")
    await line_of(listener.stderr)
    done = await shell.run("open", "shop", stdin=b"stressed")
    assert (done.code, done.out) == (0, "desserts")
    forwarder = await shell.start("forward", "-L", "0:shop")
    local = (await line_of(forwarder.stderr)).partition(" leads")[0].rpartition(":")[2]
    reader, writer = await asyncio.open_connection("127.0.0.1", int(local))
    writer.write(b"drawer")
    writer.write_eof()
    assert await asyncio.wait_for(reader.read(), 10) == b"reward"
    writer.close()
    server.close()


async def test_an_open_socket_is_left_by_ctrl_c_while_standard_input_waits(shell: Shell) -> None:
    """Python aborts with a core dump when a thread still waits inside a buffered reader at its end."""
    listener = await shell.start("listen", "shop", "--to", "-")
    await line_of(listener.stderr)
    opened = await shell.start("open", "shop")
    assert opened.stdin is not None
    opened.stdin.write(b"first")
    await opened.stdin.drain()
    assert "first" in await line_of(listener.stdout)
    opened.send_signal(signal.SIGINT)
    async with asyncio.timeout(10):
        assert await opened.wait() == 130
    assert opened.stderr is not None
    assert b"Fatal" not in await opened.stderr.read()


async def test_a_listener_ends_when_its_relay_is_removed(shell: Shell) -> None:
    """Were it to dial again, the relay would be back at once where relays come into being by use."""
    assert (await shell.run("relay", "add", "shop")).code == 0
    listener = await shell.start("listen", "shop", "--to", "-")
    await line_of(listener.stderr)
    assert (await shell.run("relay", "rm", "shop")).code == 0
    assert "deleted" in await line_of(listener.stderr)
    async with asyncio.timeout(10):
        assert await listener.wait() == 1
    assert "shop" not in (await shell.run("relay", "ls")).out


async def test_relays_are_added_listed_and_removed(shell: Shell) -> None:
    assert (await shell.run("relay", "add", "plants/oslo", "--history", "50", "--anonymous")).code == 0
    listed = await shell.run("relay", "ls", "--json")
    [added] = [relay for line in listed.out.splitlines() if (relay := json.loads(line))["name"] == "plants/oslo"]
    assert (added["history"]["events"], added["requiresClientAuthorization"]) == (50, False)
    assert "plants/oslo\tnative" in (await shell.run("relay", "ls")).out
    limits = ("--history-seconds", "86400", "--history-bytes", "7")
    assert (await shell.run("relay", "add", "kept", "--durable", *limits)).code == 0
    listed = await shell.run("relay", "ls", "--json")
    [kept] = [relay for line in listed.out.splitlines() if (relay := json.loads(line))["name"] == "kept"]
    assert [kept["history"][name] for name in ("keep", "seconds", "bytes")] == ["durable", 86_400, 7]
    refused = await shell.run("relay", "add", "kept", "--history", "none", *limits)
    assert (refused.code, "remembers nothing" in refused.err) == (2, True)
    assert (await shell.run("relay", "rm", "plants/oslo")).code == 0
    assert (await shell.run("relay", "rm", "plants/oslo")).code == 1


async def test_an_event_may_wait_and_be_cancelled(shell: Shell) -> None:
    done = await shell.run(
        "publish", "orders/a", "x", "--in", "10m", "--id", "e1", "--ttl", "1h", "--partition-key", "k"
    )
    receipt = json.loads(done.out)
    assert ("cursor" in receipt, "duplicate" in receipt, receipt["id"]) == (False, False, "e1")
    assert (
        json.loads((await shell.run("publish", "orders/a", "x", "--in", "10m", "--id", "e1")).out)["duplicate"] is True
    )
    listed = await shell.run("delayed", "ls", "orders")
    assert listed.out.split("\t")[0] == str(receipt["number"])
    assert json.loads((await shell.run("delayed", "ls", "orders", "--json")).out)["address"] == "orders/a"
    assert (await shell.run("delayed", "rm", str(receipt["number"]))).code == 0
    assert (await shell.run("delayed", "rm", str(receipt["number"]))).code == 1
    assert (await shell.run("delayed", "rm", "--all", "orders")).code == 0
    assert (await shell.run("delayed", "ls", "orders")).out == ""
    assert (await shell.run("publish", "orders/a", "x", "--in", "1m", "--not-before", "1m")).code == 2


async def test_a_relay_may_ask_for_a_schema_and_a_size(shell: Shell) -> None:
    (shell.folder / "order.json").write_text('{"type": "object", "required": ["total"]}')
    (shell.folder / "broken.json").write_text("{")
    added = await shell.run("relay", "add", "typed", "--schema", "order.json", "--max-event", "20", "--dedup", "0")
    assert added.code == 0, added.err
    refused = await shell.run("publish", "typed/a", "{}")
    assert (refused.code, "total" in refused.err) == (1, True)
    assert (await shell.run("publish", "typed/a", '{"total": 12345678901}')).code == 1
    assert (await shell.run("publish", "typed/a", '{"total": 1}')).code == 0
    assert (await shell.run("relay", "add", "typed", "--schema", "broken.json")).code == 2


async def test_keys_are_added_rotated_and_removed_and_sign_tokens(shell: Shell) -> None:
    added = await shell.run("key", "add", "sender", "--right", "Send", "--relay", "shop")
    assert added.code == 0
    assert added.out.startswith("Endpoint=http://127.0.0.1:")  # this gateway has no TLS, which `sb:` would mean
    assert added.out.endswith(";EntityPath=shop\n")
    token = await shell.run("token", "shop", "--send")
    assert (token.err, token.out.endswith("&skn=sender\n")) == ("", True)
    assert "sender\tSend" in (await shell.run("key", "ls", "--relay", "shop")).out
    rotated = await shell.run("key", "rotate", "sender", "--relay", "shop")
    assert rotated.code == 0
    assert rotated.out != added.out
    assert (await shell.run("key", "rm", "sender", "--relay", "shop")).code == 0
    wide = await shell.run("token", "shop", "--send")
    assert wide.out.endswith("&skn=RootManageSharedAccessKey\n")
    assert "RootManageSharedAccessKey" in wide.err
    whole = (await shell.run("token", "/")).out.strip()
    relays = await shell.run("relay", "ls", "--url", shell.environ["FANWAY_URL"], "--token", whole)
    assert (relays.code, relays.err) == (0, "")


async def test_a_key_may_let_its_listeners_create_relays(shell: Shell) -> None:
    assert (await shell.run("key", "add", "maker", "--right", "Listen", "--creates-relays")).code == 0
    rules = [json.loads(line) for line in (await shell.run("key", "ls", "--json")).out.splitlines()]
    assert {rule["name"]: rule["createsRelays"] for rule in rules} == {
        "RootManageSharedAccessKey": False,
        "maker": True,
    }
    refused = await shell.run("key", "add", "sender", "--right", "Send", "--creates-relays")
    assert (refused.code, "Listen" in refused.err) == (1, True)


async def test_the_status_is_told(shell: Shell) -> None:
    assert json.loads((await shell.run("status", "--json")).out)
    assert shell.environ["FANWAY_URL"] in (await shell.run("status")).out
