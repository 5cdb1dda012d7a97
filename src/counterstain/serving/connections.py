"""Connections that send nothing, one byte at a time, or more after they were refused, do not keep others out."""

import asyncio
import contextlib
import socket
from typing import Any, cast

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

__all__ = ["ACCEPTED", "HEADER_S", "LINGER_S", "WAITING", "FairServer", "ImpatientProtocol"]

HEADER_S = 10.0  # seconds within which the head of a request must be whole
WAITING = 256  # connections without a whole request; of more the oldest is closed

ACCEPTED = 1  # new connections at a time, then those that are there have their turn: 160 a second
PAUSE_S = 0.006
QUEUE = 512  # new connections that the system keeps meanwhile

LINGER_S = 5.0  # seconds that the sender of a refused body has to read the answer
DISCARD_S = 0.005  # between two pieces of refused bodies, of all senders together: 256 kB each, 50 MB/s

_waiting: dict["ImpatientProtocol", asyncio.TimerHandle] = {}


class FairServer(uvicorn.Server):
    """A server that takes a few new connections at a time: who is there is answered while a thousand are opened."""

    _accepting: tuple[asyncio.Task[None], ...] = ()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, by an accept loop of our own: asyncio's takes all that wait before anything else."""
        await super().startup(sockets=[])
        if self.started:
            self._accepting = tuple(asyncio.create_task(self._accept(listener)) for listener in sockets or ())

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
        protocol: asyncio.BaseProtocol = kind(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return protocol


class ImpatientProtocol(H11Protocol):
    """HTTP/1.1 that closes a connection whose first request is not there in time, and leaves a sender without end.

    Closing at once while a body still comes resets the connection: the sender may never see why it was refused, and a
    hostile one is back at once with the next megabyte. So the answer is sent, what still comes is thrown away slowly,
    and the connection ends when the sender does, or after `LINGER_S`.
    """

    leaving = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Start to wait for a request; where too many wait, the one that has waited longest goes."""
        super().connection_made(transport)
        self.transport = cast(asyncio.Transport, _Transport(transport, self))
        self._wait(HEADER_S)

    def data_received(self, data: bytes) -> None:
        """Once a request's head is whole nothing is waited for; the next one's on the same connection is."""
        if self.leaving:
            self._pause()
            return
        super().data_received(data)
        if self.leaving:
            return
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self not in _waiting and not self.transport.is_closing():
            self._wait(HEADER_S)

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side went."""
        self._stop_waiting()
        super().connection_lost(exc)

    def give_up(self) -> None:
        """End a connection that said too little, or would not stop."""
        self._stop_waiting()
        self.transport.abort()

    def leave(self, transport: asyncio.Transport) -> bool:
        """Whether the connection ends later, because something of its request still comes."""
        if self.leaving or transport.is_closing() or self.conn.their_state not in (h11.SEND_BODY, h11.ERROR):
            return False
        self.leaving = True
        self._stop_waiting()
        self._wait(LINGER_S)
        with contextlib.suppress(OSError):  # the other side is gone already
            transport.write_eof()
        self._pause()
        return True

    def _pause(self) -> None:
        """Read nothing until it is this one's turn among all that leave."""
        self.transport.pause_reading()
        leaving = sum(other.leaving for other in _waiting)
        self.loop.call_later(DISCARD_S * leaving, self.transport.resume_reading)

    def _wait(self, seconds: float) -> None:
        if len(_waiting) >= WAITING:
            next(iter(_waiting)).give_up()
        _waiting[self] = self.loop.call_later(seconds, self.give_up)

    def _stop_waiting(self) -> None:
        timer = _waiting.pop(self, None)
        if timer is not None:
            timer.cancel()


class _Transport:
    """A transport whose `close` asks its connection first; all else is the transport's own."""

    def __init__(self, transport: asyncio.Transport, connection: ImpatientProtocol) -> None:
        self._transport, self._connection = transport, connection

    def close(self) -> None:
        if not self._connection.leave(self._transport):
            self._transport.close()

    def is_closing(self) -> bool:
        return self._connection.leaving or self._transport.is_closing()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
