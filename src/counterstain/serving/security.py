"""The door of the server: every request passes it before any route sees it, and every answer gets its headers here.

What is let in: a known Host, a token or the cookie it was exchanged for, GET or HEAD, or a POST of JSON or one image
that comes from this page itself. What is not: other methods (so no CORS preflight succeeds), forms, compressed bodies,
bodies without a length, of a GET, or slow ones, and too many or too much at once.
"""

import asyncio
import contextlib
import hmac
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode

from counterstain.serving.problems import MEDIA_TYPE, ServingError, problem_bytes

__all__ = ["COMPUTING", "IMAGE_TYPES", "LARGE", "Access", "Guard", "allowed_hosts"]

IMAGE_TYPES = ("image/png", "image/jpeg", "image/tiff", "image/bmp", "application/octet-stream")
JSON = "application/json"
# What a post may carry, by the start of its path; JSON alone elsewhere. Tensors follow their JSON as bytes.
BODIES = {"/api/predict": (JSON, *IMAGE_TYPES), "/v2/models/": (JSON, "application/octet-stream")}
# Posts that compute and change nothing: with --read-only they still work.
COMPUTING = ("/api/predict", "/api/claim", "/api/evaluate", "/api/explain", "/v2/models/")
_CSP = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'self'; "
    "frame-ancestors {ancestors}"
)
LARGE = 1 << 20  # bytes; JSON beyond it is answered one at a time: as numbers it is several times larger
Header = tuple[bytes, bytes]


@dataclass(frozen=True, kw_only=True)
class Access:
    """Who may do what, and how much of it.

    token: what opens the page and goes into `Authorization: Bearer`; hosts: allowed Host headers, with the port.
    read_only: no decision is written.
    ancestors: pages that may show this one in a frame, as CSP says it: 'none', or the notebook's.
    body_bytes: the most that a request may send; body_s: seconds it may take for that; bodies: read at once.
    held_bytes: of all bodies that are being read or answered: memory stays bounded whoever sends.
    posts: answered at once; the 32 clients of a busy page are fewer.
    session: what the cookie holds instead of the token; a new one each start.
    """

    token: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)
    hosts: frozenset[str]
    read_only: bool = False
    ancestors: str = "'none'"
    body_bytes: int = 32 << 20
    body_s: float = 20.0
    bodies: int = 8
    held_bytes: int = 64 << 20
    posts: int = 64
    session: str = field(default_factory=lambda: secrets.token_urlsafe(32), repr=False)

    @property
    def cookie(self) -> str:
        """Name of the cookie: one per port, since browsers share cookies between the ports of a host."""
        port = min(self.hosts).rpartition(":")[2]
        return f"counterstain_{port if port.isdigit() else 'page'}"


def allowed_hosts(host: str, port: int) -> frozenset[str]:
    """The Host headers by which a server may be called: its own address, and on this machine its usual names.

    >>> sorted(allowed_hosts("127.0.0.1", 8765))
    ['127.0.0.1:8765', 'localhost:8765']
    """
    names = {"127.0.0.1", "localhost"} | ({host} if host not in ("0.0.0.0", "::", "") else set())
    return frozenset(f"[{name}]:{port}" if ":" in name else f"{name}:{port}" for name in names)


class Guard:
    """The ASGI application `app` behind the door."""

    def __init__(self, app: Any, access: Access) -> None:
        self.app, self.access = app, access
        self.reading = self.posting = self.bytes_held = 0
        self._large = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Let the request through, or answer it with a problem."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        try:
            redirect = self._checked(scope)
            if redirect is not None:
                await self._redirect(send, redirect)
                return
            if scope["method"] == "POST":
                await self._post(scope, receive, send)
                return
        except ServingError as error:
            await self._refuse(send, error, closing=_has_body(scope))
            return
        await self.app(scope, receive, self._with_headers(send, scope))

    async def _post(self, scope: Any, receive: Any, send: Any) -> None:
        """A post counts from before its body is read until it is answered, whether its sender waits or is gone."""
        if self.posting >= self.access.posts:
            raise ServingError(429, f"{self.posting} requests are being answered already; send it again in a moment")
        body_bytes = [0]
        self.posting += 1
        try:
            content = await self._body(scope, receive, body_bytes)
            parsed = len(content) > LARGE and not scope["path"].startswith("/api/predict")
            async with self._large if parsed else contextlib.nullcontext():
                await self.app(scope, _replay(content, receive), self._with_headers(send, scope))
        finally:
            self.posting -= 1
            self.bytes_held -= body_bytes[0]

    # ---------------------------------------------------------------------------------------------------- who asks what

    def _checked(self, scope: Any) -> str | None:
        """Refuses by raising; the address to go to where a token in the URL was exchanged for the cookie."""
        headers: list[Header] = scope["headers"]
        host = _single(headers, b"host")
        if host.lower() not in self.access.hosts:
            raise ServingError(421, "this Host is not served here; open the address that the command printed")
        if scope["method"] not in ("GET", "HEAD", "POST"):
            raise ServingError(405, f"{scope['method'][:20]} is not used here; GET, HEAD and POST are")
        if scope["method"] != "POST" and _has_body(scope):
            raise ServingError(400, f"a {scope['method']} with a body; leave the body out, or POST it")
        query = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
        if "token" in query and scope["method"] == "GET":
            if not _equal(query["token"][0], self.access.token):
                raise ServingError(401, "the token in this address is not this server's; open the address it printed")
            remaining = urlencode({name: value[0] for name, value in query.items() if name != "token"})
            path = "/" + str(scope["path"]).lstrip("/\\")  # never //other.host
            return path + (f"?{remaining}" if remaining else "")
        by_cookie = self._authenticate(headers)
        if scope["method"] == "POST":
            self._check_post(scope["path"], headers, host, by_cookie=by_cookie)
        return None

    def _authenticate(self, headers: Iterable[Header]) -> bool:
        """Whether it was the cookie that let the request in; raises where nothing did."""
        bearer = _single(headers, b"authorization")
        if bearer:
            kind, _, token = bearer.partition(" ")
            if kind.lower() == "bearer" and _equal(token.strip(), self.access.token):
                return False
            raise ServingError(401, "the bearer token is not this server's")
        try:
            jar = SimpleCookie(_single(headers, b"cookie"))
        except CookieError:
            jar = SimpleCookie()
        morsel = jar.get(self.access.cookie)
        if morsel is not None and _equal(morsel.value, self.access.session):
            return True
        raise ServingError(
            401, "no token: open the address that the command printed, or send `Authorization: Bearer <token>`"
        )

    def _check_post(self, path: str, headers: list[Header], host: str, *, by_cookie: bool) -> None:
        """A post comes from this page, or from a program with the token; it carries JSON, or one image to predict."""
        origin, site = _single(headers, b"origin"), _single(headers, b"sec-fetch-site")
        if (origin and origin.lower() not in (f"http://{host}".lower(), f"https://{host}".lower())) or (
            site and site not in ("same-origin", "none")
        ):
            raise ServingError(403, "this request comes from another page; only this page's own are taken")
        if by_cookie and not origin and site != "same-origin":
            raise ServingError(403, "a request with the cookie must say its Origin; a program sends the bearer token")
        if self.access.read_only and not path.startswith(COMPUTING):
            raise ServingError(403, "this server was started with --read-only; nothing is changed")
        kind = _single(headers, b"content-type").partition(";")[0].strip().lower()
        kinds = next((kinds_of_path for start, kinds_of_path in BODIES.items() if path.startswith(start)), (JSON,))
        if kind not in kinds:
            raise ServingError(415, f"Content-Type is '{kind[:60]}'; {', '.join(kinds)} is needed")
        if _single(headers, b"content-encoding") not in ("", "identity"):
            raise ServingError(415, "compressed bodies are not taken; send it as it is")

    # --------------------------------------------------------------------------------------------------------- the body

    async def _body(self, scope: Any, receive: Any, counted: list[int]) -> bytes:
        """The whole body, read within its limits; `counted` counts its bytes as they come."""
        length = _single(scope["headers"], b"content-length")
        if not length:
            raise ServingError(411, "the body has no Content-Length; send it whole, not in chunks")
        if not length.isdigit() or len(length) > 15 or int(length) > self.access.body_bytes:
            raise ServingError(413, f"the body is larger than {self.access.body_bytes} bytes")
        if self.reading >= self.access.bodies:
            raise ServingError(429, f"{self.reading} uploads are being read already; send it again in a moment")
        self.reading += 1
        try:
            async with asyncio.timeout(self.access.body_s):
                return await self._read(receive, counted)
        except TimeoutError:
            raise ServingError(408, f"the body did not arrive within {self.access.body_s:g} s") from None
        finally:
            self.reading -= 1

    async def _read(self, receive: Any, counted: list[int]) -> bytes:
        pieces: list[bytes] = []
        while True:
            message = await receive()
            if message["type"] != "http.request":
                raise ServingError(400, "the connection was closed before the body was whole")
            piece = message.get("body", b"")
            pieces.append(piece)
            counted[0] += len(piece)
            self.bytes_held += len(piece)
            if counted[0] > self.access.body_bytes:
                raise ServingError(413, f"the body is larger than {self.access.body_bytes} bytes")
            if self.bytes_held > self.access.held_bytes:
                raise ServingError(429, "too much is being read and answered already; send it again in a moment")
            if not message.get("more_body", False):
                return b"".join(pieces)

    # ------------------------------------------------------------------------------------------------------ the answers

    def _with_headers(self, send: Any, scope: Any) -> Any:
        """`send` that adds the headers of every answer."""
        cached = scope["path"].startswith("/static/")

        async def dressed(message: Any) -> None:
            if message["type"] == "http.response.start":
                present = {name.lower() for name, _ in message["headers"]}
                more = [(name, value) for name, value in self._headers(cached=cached) if name not in present]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        return dressed

    def _headers(self, *, cached: bool = False) -> list[Header]:
        policy = _CSP.format(ancestors=self.access.ancestors)
        framed = [] if self.access.ancestors != "'none'" else [(b"x-frame-options", b"DENY")]
        return [
            (b"content-security-policy", policy.encode()),
            (b"x-content-type-options", b"nosniff"),
            (b"referrer-policy", b"no-referrer"),
            (b"cross-origin-resource-policy", b"same-origin"),
            (b"cross-origin-opener-policy", b"same-origin"),
            (b"cache-control", b"private, max-age=3600" if cached else b"no-store"),
            *framed,
        ]

    async def _refuse(self, send: Any, error: ServingError, *, closing: bool) -> None:
        headers = [*self._headers(), (b"content-type", MEDIA_TYPE.encode())]
        headers += {401: [(b"www-authenticate", b"Bearer")], 405: [(b"allow", b"GET, HEAD, POST")]}.get(
            error.status, []
        )
        if closing:  # what still comes is not read: it may have no end
            headers.append((b"connection", b"close"))
        body = problem_bytes(error.status, error.detail)
        headers.append((b"content-length", str(len(body)).encode()))
        await send({"type": "http.response.start", "status": error.status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _redirect(self, send: Any, to: str) -> None:
        cookie = f"{self.access.cookie}={self.access.session}; Path=/; HttpOnly; SameSite=Strict"
        headers = [*self._headers(), (b"location", to.encode("latin-1", "replace")), (b"set-cookie", cookie.encode())]
        await send({"type": "http.response.start", "status": 303, "headers": headers})
        await send({"type": "http.response.body", "body": b""})


def _replay(content: bytes, receive: Any) -> Any:
    """A `receive` that gives a body that was read, at once."""
    replayed = False

    async def replay() -> object:
        nonlocal replayed
        if replayed:
            return await receive()
        replayed = True
        return {"type": "http.request", "body": content, "more_body": False}

    return replay


def _has_body(scope: Any) -> bool:
    """Whether a request says that a body follows its head."""
    lengths = [value for key, value in scope["headers"] if key in (b"content-length", b"transfer-encoding")]
    return any(value.strip() != b"0" for value in lengths)


def _single(headers: Iterable[Header], name: bytes) -> str:
    """The value of a header; "" where it is absent. One that is sent twice is refused: which would be meant?"""
    values = [value for key, value in headers if key == name]
    if len(values) > 1 and name != b"cookie":
        raise ServingError(400, f"the header {name.decode()} is sent {len(values)} times; once is needed")
    return b"; ".join(values).decode("latin-1")


def _equal(sent: str, known: str) -> bool:
    return hmac.compare_digest(sent.encode("utf-8", "replace"), known.encode())
