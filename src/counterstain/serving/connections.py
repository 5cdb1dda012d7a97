"""Connections that say nothing, or say it one byte at a time, do not keep others out."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["HEADER_S", "WAITING", "ImpatientProtocol"]

HEADER_S = 10.0  # seconds within which the head of a request must be whole
WAITING = 256  # connections without a whole request; of more the oldest is closed

_waiting: dict["ImpatientProtocol", asyncio.TimerHandle] = {}


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose first request is not there in time."""

    def connection_made(self, transport: Any) -> None:
        """Start to wait for a request; where too many wait, the one that has waited longest goes."""
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Once a request's head is whole nothing is waited for; the next one's on the same connection is."""
        super().data_received(data)
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self not in _waiting and not self.transport.is_closing():
            self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side went."""
        self._stop_waiting()
        super().connection_lost(exc)

    def give_up(self) -> None:
        """Close a connection that said too little."""
        self._stop_waiting()
        if not self.transport.is_closing():
            self.transport.abort()

    def _wait(self) -> None:
        if len(_waiting) >= WAITING:
            next(iter(_waiting)).give_up()
        _waiting[self] = self.loop.call_later(HEADER_S, self.give_up)

    def _stop_waiting(self) -> None:
        timer = _waiting.pop(self, None)
        if timer is not None:
            timer.cancel()
