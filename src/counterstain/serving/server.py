"""Starting the server: its address, its token, and the words that say how to reach it."""

import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from counterstain.errors import InputError
from counterstain.extras import missing_package

if TYPE_CHECKING:
    import uvicorn

__all__ = ["ServeOptions", "Started", "check_address", "start", "web_is_there"]

LOOPBACK = ("127.0.0.1", "localhost", "::1")
LEAST_TOKEN = 32


@dataclass(frozen=True, kw_only=True)
class ServeOptions:
    """How the page is served.

    host, port: of the address; port 0 takes a free one. token: of other hosts than this machine; None makes one.
    read_only: no decision is written. models: a run, bundle or export for Predict; None: those of the runs.
    slides: folders of slides; maps: folders that `slides run` wrote.
    ancestors: pages that may show this one in a frame, as CSP says it.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    read_only: bool = False
    model: Path | None = None
    slides: tuple[Path, ...] = ()
    maps: tuple[Path, ...] = ()
    ancestors: str = "'none'"


@dataclass(frozen=True)
class Started:
    """A server that listens, and is run by `run`.

    url: with the token, to be opened once; token: for `Authorization: Bearer`.
    """

    url: str
    token: str
    host: str
    port: int
    server: "uvicorn.Server"
    listening: socket.socket

    async def run(self) -> None:
        """Serve until Ctrl-C."""
        await self.server.serve(sockets=[self.listening])

    def lines(self) -> list[str]:
        """What is printed: the address, and how to reach it from another machine."""
        if self.host not in LOOPBACK:
            return [f"Open {self.url}", "Others on this network who have the token can see everything that is served."]
        return [
            f"Open {self.url}",
            f"From another machine: ssh -N -L {self.port}:127.0.0.1:{self.port} "
            f"{socket.gethostname()}, then open the same address there.",
        ]


def check_address(host: str, *, token: str | None) -> None:
    """Refuse to open the page to a network without a token that was chosen for it.

    Raises:
        InputError: If the host is not this machine alone, and there is no token of 32 characters or more.
    """
    if host in LOOPBACK:
        return
    if token is None:
        raise InputError(
            f"--host {host} opens the page to others on the network; give them a token with --token, or leave --host "
            "out and reach this machine through ssh -L"
        )
    if len(token) < LEAST_TOKEN:
        raise InputError(
            f"the token has {len(token)} characters; 32 characters or more are needed where others can reach the page; "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))' makes one"
        )


def web_is_there() -> None:
    """Refuse, saying what to install, where the extra `web` is missing.

    Raises:
        InputError: If FastAPI or uvicorn cannot be imported.
    """
    try:
        import fastapi  # noqa: F401
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise missing_package(error, "serve") from None


def start(runs: Path, options: ServeOptions) -> Started:
    """Listen at the address; nothing is answered before `run`.

    Raises:
        InputError: If the folder is none, the port is taken, or the address is open without a token.
    """
    web_is_there()
    check_address(options.host, token=options.token)
    import uvicorn

    from counterstain.serving.app import make_app, served_of
    from counterstain.serving.connections import FairServer, ImpatientProtocol
    from counterstain.serving.security import Access, allowed_hosts

    served = served_of(runs, options)
    listening = _listen(options.host, options.port)
    port = int(listening.getsockname()[1])
    hosts = allowed_hosts(options.host, port)
    access = Access(hosts=hosts, read_only=options.read_only, ancestors=options.ancestors)
    if options.token is not None:
        access = replace(access, token=options.token)
    config = uvicorn.Config(
        make_app(served, access), http=ImpatientProtocol, ws="none", access_log=False,
        log_level="warning", server_header=False, proxy_headers=False, timeout_keep_alive=15, lifespan="on",
        h11_max_incomplete_event_size=16 << 10, timeout_graceful_shutdown=3,
    )  # fmt: skip
    host = "127.0.0.1" if options.host in (*LOOPBACK, "0.0.0.0", "::") else options.host
    url = f"http://{host}:{port}/?token={access.token}"
    return Started(url, access.token, options.host, port, FairServer(config), listening)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Without naming TCP, asyncio would not turn Nagle's algorithm off: each answer would wait 40 ms for a confirmation.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        why = error.strerror or str(error)
        raise InputError(f"{host}:{port} cannot be served ({why}); take another --port, or 0 for a free one") from None
    listening.listen()
    return listening
