"""Connections that say nothing, or say it one byte at a time, do not keep others out."""

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["ACCEPTED", "HEADER_S", "WAITING", "FairServer", "ImpatientProtocol"]

HEADER_S = 10.0  # seconds within which the head of a request must be whole
WAITING = 256  # connections without a whole request; of more the oldest is closed

ACCEPTED = 1  # new connections at a time, then those that are there have their turn: 160 a second
PAUSE_S = 0.006
QUEUE = 512  # new connections that the system keeps meanwhile

_waiting: dict["ImpatientProtocol", asyncio.TimerHandle] = {}


class FairServer(uvicorn.Server):
    """A server that takes a few new connections at a time: who is there is answered while a thousand are opened."""

    _accepting: tuple[asyncio.Task[None], ...] = ()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, by an accept loop of our own: asyncio's takes all that wait before anything else."""
        await super().startup(sockets=[])
        if self.started:
            self._accepting = tuple(asyncio.create_task(self._accept(one)) for one in sockets or ())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and end those that there are."""
        for task in self._accepting:
            task.cancel()
        await super().shutdown(sockets)

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        listening.setblocking(False)
        listening.listen(QUEUE)
        while True:
            for _ in range(ACCEPTED):
                try:
                    connection, _address = await loop.sock_accept(listening)
                    await loop.connect_accepted_socket(self._protocol, connection)
                except OSError:  # too many files are open, or the other side is gone already
                    await asyncio.sleep(PAUSE_S)
            await asyncio.sleep(PAUSE_S)

    def _protocol(self) -> asyncio.BaseProtocol:
        kind: Any = self.config.http_protocol_class
        made: asyncio.BaseProtocol = kind(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return made


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose first request is not there in time."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
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
