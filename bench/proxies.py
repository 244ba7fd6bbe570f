"""Proxies that others wrote: they pass bytes on to a server that was there already, in the generator.

They join nobody, verify nothing and unmask nothing, so that they are the limit, not a rendezvous. Each gets buffers as
large as pay, keeps its connections to the server, and writes no log and no temporary file.
"""

from __future__ import annotations

import base64
import re
import socket
from hashlib import sha1

from bench.load import LoadError, client_frame, open_tcp, read_head, server_frame, upgrade_request
from bench.native import Answering
from bench.peers import BODY, Peer, Place, Server
from bench.rivals import Rival
from bench.secure import certificate

_KEY = re.compile(rb"\r\nsec-websocket-key: *(\S+)\r\n", re.IGNORECASE)
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, 1.3
_UPGRADED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %b\r\n\r\n"
)
_ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(BODY)


class Proxy(Rival):
    """Its connections come out at `Server.origin`."""

    is_proxy = True

    def open_pair(self, server: Server) -> tuple[socket.socket, socket.socket]:
        sender = open_tcp(server.port)
        sender.sendall(upgrade_request(server.port, "/socket"))
        receiver = server.accept()
        key = _KEY.search(read_head(receiver))
        accept = base64.b64encode(sha1((key[1] if key else b"") + _GUID).digest())
        receiver.sendall(_UPGRADED % accept)
        if not read_head(sender).startswith(b"HTTP/1.1 101 "):
            raise LoadError(f"{self.name} refused an upgrade")
        return sender, receiver

    def received(self, opcode: int, payload: bytes) -> bytes:
        return client_frame(opcode, payload)

    def reply(self, opcode: int, payload: bytes) -> bytes:
        return server_frame(opcode, payload)

    def answering(self, server: Server, listener: socket.socket | None) -> Answering:
        return Answering(_ANSWER + BODY, origin=server.origin)


class Nginx(Proxy):
    name = "nginx"
    about = "nginx as a proxy, with buffers of 64 KiB, to a server in the generator: the limit, not a rendezvous"
    program, package = "nginx", "nginx"
    version_option = "-v"
    buffers = "proxy_buffer_size 64k; proxy_buffers 8 64k; proxy_busy_buffers_size 128k; client_body_buffer_size 64k;"

    def command(self, place: Place) -> list[str]:
        places = "\n".join(
            f"  {kind}_temp_path {place.folder}/{kind};"
            for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        )
        config = place.folder / "nginx.conf"
        given = {"places": places, "buffers": self.buffers, "tls": self.tls(), **_given(self, place)}
        config.write_text(_NGINX % given)
        return [self.path() or self.program, "-p", str(place.folder), "-c", str(config), "-e", "stderr"]

    def tls(self) -> str:
        """What it needs to speak TLS on both sides."""
        if not self.is_secure:
            return ""
        files = certificate()
        return f"ssl_certificate {files.certificate}; ssl_certificate_key {files.key}; {_NGINX_TLS}"


class PlainNginx(Nginx):
    name = "nginx as it comes"
    about = "the same with the buffers that it has by default"
    buffers = ""

    def version(self) -> str | None:
        return None  # said already


class Haproxy(Proxy):
    name = "haproxy"
    about = "haproxy as a proxy, with buffers of 64 KiB and one thread, to a server in the generator: likewise"
    program, package = "haproxy", "haproxy"
    version_option = "-v"

    def command(self, place: Place) -> list[str]:
        config = place.folder / "haproxy.cfg"
        ends = (f" ssl crt {certificate().both}", " ssl verify none") if self.is_secure else ("", "")
        config.write_text(_HAPROXY % {"bind": ends[0], "server": ends[1], **_given(self, place)})
        return [self.path() or self.program, "-db", "-q", "-f", str(config)]


def _given(peer: Peer, place: Place) -> dict[str, object]:
    scheme, ssl = ("https", " ssl") if peer.is_secure else ("http", "")
    return {"folder": place.folder, "port": place.port, "origin_port": place.origin_port, "scheme": scheme, "ssl": ssl}


NGINX, PLAIN_NGINX, HAPROXY = Nginx(), PlainNginx(), Haproxy()

_NGINX = """\
daemon off;
master_process off;
pid %(folder)s/nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
%(places)s
  keepalive_requests 1000000000;
  proxy_http_version 1.1;
  proxy_request_buffering off;
  proxy_max_temp_file_size 0;
  client_max_body_size 0;
  %(buffers)s
  %(tls)s
  upstream origin { server 127.0.0.1:%(origin_port)d; keepalive 128; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:%(port)d%(ssl)s backlog=4096;
    location / { proxy_pass %(scheme)s://origin; proxy_set_header Connection ""; }
    location /stream { proxy_pass %(scheme)s://origin; proxy_set_header Connection ""; proxy_buffering off; }
    location /socket {
      proxy_pass %(scheme)s://origin;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
    }
  }
}
"""

_NGINX_TLS = "ssl_protocols TLSv1.3; proxy_ssl_protocols TLSv1.3;"

_HAPROXY = """\
global
  nbthread 1
  maxconn 4096
  tune.bufsize 65536
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  http-reuse always
frontend bench
  bind 127.0.0.1:%(port)d backlog 4096%(bind)s
  use_backend stream if { path /stream }
  default_backend origin
backend stream
  option http-no-delay
  server origin 127.0.0.1:%(origin_port)d%(server)s
backend origin
  server origin 127.0.0.1:%(origin_port)d%(server)s pool-max-conn -1
"""
