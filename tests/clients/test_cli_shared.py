"""`fanway subscribe` with --group, --durable and --exec, as processes of their own."""

from __future__ import annotations

import asyncio
import json
import signal
from asyncio.subprocess import Process

from shells import Shell, line_of


async def subscribed(shell: Shell, *arguments: str) -> Process:
    process = await shell.start("subscribe", *arguments)
    assert "subscribed to jobs/**" in await line_of(process.stderr)
    return process


async def publish(shell: Shell, count: int, first: int = 0) -> None:
    lines = "".join(f"{number}\n" for number in range(first, first + count))
    done = await shell.run("publish", "jobs/x", "-", "--lines", stdin=lines.encode())
    assert done.code == 0, done.err


async def test_what_one_printed_is_not_printed_again_and_all_that_it_did_not_is(shell: Shell) -> None:
    first = await subscribed(shell, "jobs/**", "--durable", "workers")
    second = await subscribed(shell, "jobs/**", "--durable", "workers")
    await publish(shell, 20)
    printed = [await line_of(first.stdout)]
    first.kill()
    await publish(shell, 5, 20)
    rest, _ = await first.communicate()
    printed += rest.decode().splitlines(keepends=True)
    while set(printed) < {f"jobs/x\t{number}\n" for number in range(25)}:
        printed.append(await line_of(second.stdout))


async def test_interrupted_it_has_acknowledged_all_that_it_printed(shell: Shell) -> None:
    first = await subscribed(shell, "jobs/**", "--durable", "workers")
    await publish(shell, 3)
    assert [await line_of(first.stdout) for _ in range(3)] == [f"jobs/x\t{n}\n" for n in range(3)]
    first.send_signal(signal.SIGINT)
    await first.communicate()
    assert first.returncode == 130
    await publish(shell, 1)
    done = await shell.run("subscribe", "jobs/**", "--durable", "workers", "--count", "1", "--json")
    assert [(json.loads(line)["data"], json.loads(line)["attempt"]) for line in done.out.splitlines()] == [("0", 1)]
    await publish(shell, 2)
    done = await shell.run("subscribe", "jobs/**", "--durable", "workers", "--count", "2")
    assert done.out == "jobs/x\t0\njobs/x\t1\n"


async def test_of_a_group_each_event_is_printed_once(shell: Shell) -> None:
    both = [await subscribed(shell, "jobs/**", "--group", "workers", "--count", "10") for _ in range(2)]
    await publish(shell, 20)
    async with asyncio.timeout(20):
        outs = [(await process.communicate())[0].decode() for process in both]
    assert sorted("".join(outs).splitlines()) == sorted(f"jobs/x\t{n}" for n in range(20))


async def test_a_command_that_fails_gets_its_event_again(shell: Shell) -> None:
    script = 'read line; echo "$EVENT_ADDRESS $line $EVENT_ATTEMPT"; test "$EVENT_ATTEMPT" = 2'
    worker = await subscribed(shell, "jobs/**", "--durable", "workers", "--exec", script, "--count", "2")
    await publish(shell, 1)
    async with asyncio.timeout(20):
        out, err = await worker.communicate()
    assert out.decode().splitlines() == ["jobs/x 0 1", "jobs/x 0 2"]
    assert "! the command failed with 1: jobs/x" in err.decode()


async def test_a_command_that_is_interrupted_gives_its_event_to_another(shell: Shell) -> None:
    first = await subscribed(shell, "jobs/**", "--durable", "workers", "--exec", "echo begun; exec sleep 60")
    await publish(shell, 1)
    assert await line_of(first.stdout) == "begun\n"
    first.terminate()
    await first.communicate()
    done = await shell.run("subscribe", "jobs/**", "--durable", "workers", "--count", "1")
    assert done.out == "jobs/x\t0\n"


async def test_a_group_and_a_durable_subscription_at_once_are_refused(shell: Shell) -> None:
    done = await shell.run("subscribe", "jobs/**", "--durable", "a", "--group", "b")
    assert done.code == 2
    assert "--group" in done.err
