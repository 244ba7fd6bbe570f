"""nginx with the module nchan, which makes it a server of events; `rivals.py` has the others."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

from bench.load import open_stream, open_websocket
from bench.peers import Place, Server
from bench.rivals import Rival

MODULE = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")


class Nchan(Rival):
    """Subscribers take server-sent events; the publisher is a WebSocket, as Fanway's."""

    name = "nchan"
    about = "nginx with nchan, server-sent events, no message stored"
    program, package = "nginx", "libnginx-mod-nchan"

    def missing(self) -> str | None:
        reason = super().missing()
        return reason or (None if MODULE.exists() else f"not installed: {self.package} (make peers)")

    def version(self) -> str | None:
        if self.missing() or not shutil.which("dpkg-query"):
            return None
        query = ["dpkg-query", "-W", "-f=${Version}", self.package]
        run = subprocess.run(query, capture_output=True, text=True)
        return f"nchan {run.stdout}" if run.returncode == 0 else None

    def command(self, place: Place) -> list[str]:
        config = place.folder / "nchan.conf"
        config.write_text(_CONFIG % {"module": MODULE, "folder": place.folder, "port": place.port})
        return [self.path() or self.program, "-p", str(place.folder), "-c", str(config), "-e", "stderr"]

    def open_publisher(self, server: Server) -> socket.socket:
        return open_websocket(server.port, "/publish/fan")

    def open_subscriber(self, server: Server, address: str) -> socket.socket:
        return open_stream(server.port, f"/subscribe/{address}")


NCHAN = Nchan()

_CONFIG = """\
load_module %(module)s;
daemon off;
master_process off;
pid %(folder)s/nginx.pid;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path %(folder)s/client_body;
  proxy_temp_path %(folder)s/proxy;
  fastcgi_temp_path %(folder)s/fastcgi;
  uwsgi_temp_path %(folder)s/uwsgi;
  scgi_temp_path %(folder)s/scgi;
  nchan_shared_memory_size 256M;
  server {
    listen 127.0.0.1:%(port)d backlog=4096;
    location ~ ^/publish/(.+)$ {
      nchan_publisher;
      nchan_channel_id $1;
      nchan_store_messages off;
      nchan_message_buffer_length 0;
    }
    location ~ ^/subscribe/(.+)$ {
      nchan_subscriber eventsource;
      nchan_channel_id $1;
      nchan_subscriber_first_message newest;
    }
  }
}
"""
