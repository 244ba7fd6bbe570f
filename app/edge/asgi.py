"""Exchanges that FastAPI answers: everything that is neither relayed nor an event."""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar
from urllib.parse import unquote

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle
from uvicorn.protocols.utils import get_local_addr, get_remote_addr, is_ssl

from app.edge.exchange import Exchange
from app.edge.origin import reached_url
from app.errors import RelayError


class AsgiExchange(Exchange):
    """One request through uvicorn's cycle: it frames the answer and applies back-pressure itself."""

    cycle: RequestResponseCycle
    state: ClassVar[dict[str, object]] = {}  # what the application is told beside the request

    def start(self) -> None:
        seam, head = self.seam, self.head
        scope: Any = {
            "type": "http",
            "asgi": {"version": seam.asgi_version, "spec_version": "2.3"},
            "http_version": head.version,
            "server": get_local_addr(seam.transport),
            "client": get_remote_addr(seam.transport),
            "scheme": "https" if is_ssl(seam.transport) else "http",
            "root_path": "",
            "state": {**self.state},
            "extensions": {"fanway.origin": reached_url(self.context, seam.transport, head)},
            "method": head.method,
            "path": unquote(head.path),
            "raw_path": head.path.encode(),
            "query_string": head.query.encode(),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in head.headers],
        }
        self.cycle = RequestResponseCycle(
            scope=scope,
            transport=seam.transport,
            flow=seam.flow,
            logger=seam.logger,
            access_logger=seam.access_logger,
            access_log=False,
            default_headers=seam.server_state.default_headers,
            message_event=asyncio.Event(),
            expect_100_continue=head.expects_continue,
            keep_alive=self.is_keep_alive,
            on_response=self._on_response,
        )
        self.cycle.more_body = not self.is_body_complete
        if self.is_body_complete:  # as uvicorn does: who asks for the body of a GET gets an empty one
            self.cycle.message_event.set()
        seam._start_asgi_task(self.cycle, seam.app)

    def on_body(self, data: bytes) -> None:
        self.cycle.body += data
        if len(self.cycle.body) > HIGH_WATER_LIMIT:
            self.pause_body()
        self.cycle.message_event.set()

    def on_end(self) -> None:
        self.cycle.more_body = False
        self.cycle.message_event.set()

    def on_lost(self) -> None:
        self.cycle.disconnected = True
        self.cycle.message_event.set()

    def refuse(self, error: RelayError, *, tracking_id: str | None = None) -> None:
        self.is_answering = self.cycle.response_started
        self.on_lost()  # the application's own answer is not wanted any more
        super().refuse(error, tracking_id=tracking_id)

    def _on_response(self) -> None:
        self.is_keep_alive = self.cycle.keep_alive
        self.finish()
