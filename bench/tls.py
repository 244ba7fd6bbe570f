"""Some of the rows over TLS, with one version and one cipher on every connection."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import partial

from bench import fanout, idle, requests
from bench.fanout import Audience
from bench.generator.library import missing_tls
from bench.load import BINARY, LoadError, client_frame, read_message
from bench.native import Shape, pump
from bench.peers import Fanway, Peer, Server
from bench.proxies import Haproxy, Nginx
from bench.rivals import Nats
from bench.row import Line, Meter, Row, Sample, Sizes, side_by_side
from bench.secure import CIPHER, certificate
from bench.sockets import PAYLOAD

WINDOW = 327  # events in flight
STREAM_WINDOW = 32  # messages in flight


class Secure(Peer):
    """One of the others, over TLS."""

    is_secure = True

    def missing(self) -> str | None:
        return missing_tls() or super().missing()

    def version(self) -> str | None:
        return None  # said already


class SecureFanway(Secure, Fanway):
    about = f"{Fanway.about}, on its port for TLS"

    def tls_options(self) -> list[str]:
        files = certificate()
        return ["--tls-listen", "127.0.0.1:0", "--tls-cert", str(files.certificate), "--tls-key", str(files.key)]


class SecureNats(Secure, Nats):
    about = f"{Nats.about}, over TLS"


class SecureNginx(Secure, Nginx):
    about = "nginx as such a proxy, over TLS on both sides"


class SecureHaproxy(Secure, Haproxy):
    about = "haproxy as such a proxy, over TLS on both sides"


FANWAY, NATS, NGINX, HAPROXY = SecureFanway(), SecureNats(), SecureNginx(), SecureHaproxy()
SERVERS: tuple[Peer, ...] = (FANWAY, NATS)
PROXIES: tuple[Peer, ...] = (FANWAY, NGINX, HAPROXY)


def measure_fan_out(audience_of: Callable[[Sizes], int], sizes: Sizes, core: int | None) -> list[Line]:
    line, audience = Line(f"{WINDOW} in flight"), Audience(1, audience_of(sizes))
    with side_by_side(SERVERS, [line], core) as servers:
        for server in servers:
            fanout.verify(server, audience, sizes)
        for _ in range(sizes.rounds):
            for server in servers:
                with contextlib.ExitStack() as stack:
                    publisher, subscribers = audience.connect(server, stack)
                    sockets = [sock for sock, _ in subscribers]
                    line.add(server, fanout.under_load(server, sizes, audience, WINDOW, publisher, sockets))
    return [line]


def measure_stream(sizes: Sizes, core: int | None) -> list[Line]:
    line = Line("64 KiB messages, one way")
    with side_by_side(PROXIES, [line], core) as servers:
        for _ in range(sizes.rounds):
            for server in servers:
                line.add(server, _stream(server, sizes))
    return [line]


def _stream(server: Server, sizes: Sizes) -> Sample:
    frame = client_frame(BINARY, PAYLOAD)
    sender, receiver = server.peer.open_pair(server)
    with sender, receiver:
        sender.sendall(frame)
        if read_message(receiver) != (BINARY, PAYLOAD):
            raise LoadError("a message came out changed")
        meter = Meter(server, sizes)
        count = pump([(sender, receiver)], Shape(len(PAYLOAD)), frame, STREAM_WINDOW, sizes.times, meter)
        return meter.rate(count * len(PAYLOAD) / 1e6)


_SAME = (
    f"On every connection, also those behind a proxy: {CIPHER}, looked at after each handshake. The generator decrypts "
    "all of it: where its share is near 100 %, the figure is a lower bound."
)
_LEAVES_OUT = "Handshakes, resumption, other ciphers, clients that verify the certificate."

ROWS = (
    Row(
        name="fanout-tls",
        title="TLS: fan-out, 1 publisher, 100 subscribers, 64-byte events",
        unit="deliveries/s",
        proves=f"What encryption leaves of the fan-out, each subscriber's stream encrypted by itself. {_SAME}",
        leaves_out=_LEAVES_OUT,
        peers=SERVERS,
        measure=partial(measure_fan_out, lambda sizes: sizes.subscribers),
    ),
    Row(
        name="fanout-1000-tls",
        title="TLS: fan-out, 1 publisher, 1,000 subscribers, 64-byte events",
        unit="deliveries/s",
        proves=f"The same with many subscribers: a record and a write for each, at every turn. {_SAME}",
        leaves_out=_LEAVES_OUT,
        peers=SERVERS,
        measure=partial(measure_fan_out, lambda sizes: sizes.scale),
    ),
    Row(
        name="sockets-tls",
        title="TLS: 64 KiB messages through one joined pair, one way",
        unit="MB/s",
        proves=f"What it costs to decrypt, unmask, and encrypt again. {_SAME}",
        leaves_out=f"{_LEAVES_OUT} nginx and haproxy pass on to a server that was there already, and unmask nothing.",
        peers=PROXIES,
        measure=measure_stream,
    ),
    Row(
        name="requests-tls",
        title="TLS: 1 KiB GET through a listener's control channel, 64 keep-alive connections",
        unit="requests/s",
        proves=f"What encryption costs a relayed request: a record each way. {_SAME}",
        leaves_out=f"{_LEAVES_OUT} nginx and haproxy find no listener and check no token.",
        peers=PROXIES,
        measure=partial(requests.measure, peers=PROXIES),
    ),
    Row(
        name="idle-tls",
        title="TLS: memory for each of 10,000 subscribers that get nothing",
        unit="KiB/subscriber",
        proves="What a quiet subscriber over TLS costs in the server's own resident memory, and together with the "
        f"kernel's. On every connection {CIPHER}.",
        leaves_out="What a busy or slow subscriber holds. As in `idle`, the kernel's share is half of what the whole "
        "machine's kernel memory grew by.",
        peers=SERVERS,
        measure=partial(idle.measure_memory, peers=SERVERS),
        is_more_better=False,
        praise="small",
    ),
)
