"""The door: of each kind of request only the right one is let in (faults 65 and 66 of docs/faults.md)."""

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest
from small_server import PORT, TOKEN
from starlette.testclient import TestClient

from counterstain.errors import InputError
from counterstain.serving.app import make_app, served_of
from counterstain.serving.pictures import image_id
from counterstain.serving.security import LARGE, Access, Guard, allowed_hosts
from counterstain.serving.server import ServeOptions, check_address

BASE = f"http://127.0.0.1:{PORT}"
GOOD = {"Authorization": f"Bearer {TOKEN}"}


def anyone(runs: Path, access: Access) -> TestClient:
    return TestClient(make_app(served_of(runs, ServeOptions()), access), base_url=BASE, follow_redirects=False)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": f"Bearer {TOKEN[:-1]}"}, 401),
        ({"Authorization": "Bearer "}, 401),
        ({"Cookie": f"counterstain_{PORT}=wrong"}, 401),
        ({"Cookie": "counterstain_1=the-session"}, 401),
        ({"Cookie": f"counterstain_{PORT}={TOKEN}"}, 401),  # the cookie holds something else than the token
        ({**GOOD, "Host": "evil.example"}, 421),
        ({**GOOD, "Host": f"evil.example:{PORT}"}, 421),
        ({**GOOD, "Host": "127.0.0.1:1"}, 421),
        ({**GOOD, "Host": "127.0.0.1"}, 421),
        ({**GOOD, "Host": f"127.0.0.1:{PORT}.evil.example"}, 421),
        ({**GOOD, "Host": ""}, 421),
        (GOOD, 200),
        ({**GOOD, "Host": f"localhost:{PORT}"}, 200),
        ({"Cookie": f"counterstain_{PORT}=the-session"}, 200),
    ],
)
def test_only_a_known_host_with_the_token_gets_in(
    runs: Path, access: Access, headers: dict[str, str], status: int
) -> None:
    answer = anyone(runs, access).get("/api/runs", headers=headers)
    assert answer.status_code == status
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["status"] == status
        assert TOKEN not in answer.text


def test_every_route_wants_the_token(runs: Path, access: Access) -> None:
    for path in ("/", "/static/page.css", "/api/openapi.json", "/v2/health/live", "/runs/two/errors", "/nowhere"):
        assert anyone(runs, access).get(path).status_code == 401, path


def test_the_first_address_is_exchanged_for_a_cookie(runs: Path, access: Access) -> None:
    client = anyone(runs, access)
    answer = client.get(f"/runs/two/errors?token={TOKEN}&arm=x")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/runs/two/errors?arm=x"
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and TOKEN not in cookie
    assert client.get("/").status_code == 200
    assert client.get(f"/?token={TOKEN}x").status_code == 401
    assert client.get(f"{BASE}//evil.example/?token={TOKEN}").headers["location"].startswith("/evil.example")


@pytest.mark.parametrize("method", ["OPTIONS", "PUT", "DELETE", "PATCH", "TRACE", "PROPFIND"])
def test_other_methods_and_preflights_are_refused(runs: Path, access: Access, method: str) -> None:
    asked = {**GOOD, "Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    answer = anyone(runs, access).request(method, "/api/runs", headers=asked)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


COOKIE = {"Cookie": f"counterstain_{PORT}=the-session", "Content-Type": "application/json"}
TOKENED = {**GOOD, "Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (COOKIE, 403),  # a cookie without an origin: a form of another page, in an old browser
        ({**COOKIE, "Origin": "null"}, 403),
        ({**COOKIE, "Origin": "http://evil.example"}, 403),
        ({**COOKIE, "Origin": f"http://127.0.0.1:{PORT + 1}"}, 403),
        ({**COOKIE, "Origin": f"http://localhost:{PORT}"}, 403),  # a known name, but not the one that was called
        ({**COOKIE, "Origin": BASE, "Sec-Fetch-Site": "cross-site"}, 403),
        ({**COOKIE, "Sec-Fetch-Site": "same-site"}, 403),
        ({**TOKENED, "Origin": "http://evil.example"}, 403),
        ({**COOKIE, "Origin": BASE, "Content-Type": "text/plain"}, 415),
        ({**COOKIE, "Origin": BASE, "Content-Type": "application/x-www-form-urlencoded"}, 415),
        ({**COOKIE, "Origin": BASE, "Content-Type": "multipart/form-data; boundary=x"}, 415),
        ({**COOKIE, "Origin": BASE, "Content-Type": "image/png"}, 415),  # an image is for /api/predict alone
        ({**TOKENED, "Content-Encoding": "gzip"}, 415),
        ({**COOKIE, "Origin": BASE}, 200),
        ({**COOKIE, "Sec-Fetch-Site": "same-origin"}, 200),
        (TOKENED, 200),
    ],
)
def test_a_post_comes_from_this_page_or_with_the_token(access: Access, headers: dict[str, str], status: int) -> None:
    client = TestClient(Guard(echo, access), base_url=BASE)
    assert client.post("/api/decisions", headers=headers, content=b"{}").status_code == status


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """An application that answers with the length of what it was sent."""
    message = await receive() if scope["method"] == "POST" else {"body": b""}
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(len(message["body"])).encode()})


def test_read_only_changes_nothing_but_still_predicts(access: Access) -> None:
    shut = Access(token=TOKEN, hosts=access.hosts, read_only=True)
    client = TestClient(Guard(echo, shut), base_url=BASE, headers=TOKENED)
    for path, status in (("/api/decisions", 403), ("/api/polygons", 403), ("/api/predict", 200), ("/api/claim", 200)):
        assert client.post(path, content=b"{}").status_code == status, path


def test_every_answer_has_its_headers(runs: Path, access: Access) -> None:
    client = anyone(runs, access)
    for answer in (client.get("/", headers=GOOD), client.get("/"), client.get("/nowhere", headers=GOOD)):
        policy = answer.headers["content-security-policy"]
        assert "default-src 'self'" in policy and "frame-ancestors 'none'" in policy and "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert not [name for name in answer.headers if name.startswith("access-control")]


# ------------------------------------------------------------------------------------------------------------- uploads


def ask(guard: Guard, chunks: list[bytes], *, headers: dict[str, str] | None = None, pause_s: float = 0.0) -> int:
    """The status of a post whose body comes in chunks, with a pause before each."""
    return asyncio.run(answer(guard, chunks, headers=headers, pause_s=pause_s))


async def answer(
    guard: Guard, chunks: list[bytes], *, headers: dict[str, str] | None = None, pause_s: float = 0.0
) -> int:
    """The same, beside others."""
    said = {"host": f"127.0.0.1:{PORT}", "content-type": "application/json", **GOOD}
    said |= {"content-length": "100", **(headers or {})}
    scope = {
        "type": "http", "method": "POST", "path": "/api/decisions", "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in said.items() if value],
    }  # fmt: skip
    left = list(chunks)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(pause_s)
        body = left.pop(0)
        return {"type": "http.request", "body": body, "more_body": bool(left)}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await guard(scope, receive, send)
    return int(sent[0]["status"])


def test_bodies_are_capped_while_they_come(access: Access) -> None:
    small = Guard(echo, Access(token=TOKEN, hosts=access.hosts, body_bytes=1000))
    assert ask(small, [b"x" * 500, b"x" * 500]) == 200
    assert ask(small, [b"x" * 500] * 3) == 413
    assert ask(small, [b""], headers={"content-length": "1001"}) == 413
    assert ask(small, [b""], headers={"content-length": "-1"}) == 413
    assert ask(small, [b""], headers={"content-length": "1e9"}) == 413
    assert ask(small, [b"{}"], headers={"content-length": "", "transfer-encoding": "chunked"}) == 411


def test_all_bodies_together_are_capped_until_they_are_answered(access: Access) -> None:
    """Three of 400 bytes at once where 1,000 may be held: one is told to wait, and what it held is given back."""

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.2)
        await echo(scope, receive, send)

    guard = Guard(slow, Access(token=TOKEN, hosts=access.hosts, held_bytes=1000))

    async def three() -> list[int]:
        return list(await asyncio.gather(*(answer(guard, [b"x" * 200] * 2) for _ in range(3))))

    assert sorted(asyncio.run(three())) == [200, 200, 429]
    assert guard.bytes_held == 0
    assert ask(guard, [b"x" * 400]) == 200


def test_large_bodies_are_taken_apart_one_at_a_time(access: Access) -> None:
    at_once: list[int] = []
    running = 0

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        nonlocal running
        running += 1
        at_once.append(running)
        await asyncio.sleep(0.05)
        running -= 1
        await echo(scope, receive, send)

    guard = Guard(slow, Access(token=TOKEN, hosts=access.hosts))

    async def several(size: int) -> list[int]:
        return list(await asyncio.gather(*(answer(guard, [b"x" * size]) for _ in range(3))))

    assert asyncio.run(several(LARGE + 1)) == [200] * 3 and max(at_once) == 1
    assert asyncio.run(several(LARGE)) == [200] * 3 and max(at_once) == 3


def test_a_body_that_trickles_is_given_up(access: Access) -> None:
    hurried = Guard(echo, Access(token=TOKEN, hosts=access.hosts, body_s=0.05))
    assert ask(hurried, [b"x"] * 1000, pause_s=0.01) == 408
    assert hurried.reading == 0


def test_too_many_uploads_at_once_are_told_to_wait(access: Access) -> None:
    guard = Guard(echo, Access(token=TOKEN, hosts=access.hosts, bodies=2))
    guard.reading = 2
    assert ask(guard, [b"{}"]) == 429
    guard.reading = 1
    assert ask(guard, [b"{}"]) == 200


def test_no_more_is_answered_at_once_than_can_be(access: Access) -> None:
    """Requests whose sender is gone do not pile up: those beyond the limit are refused, and the count comes back."""
    most = 0

    async def slow(scope: Any, receive: Any, send: Any) -> None:
        nonlocal most
        most = max(most, guard.posting)
        await asyncio.sleep(0.2)
        await echo(scope, receive, send)

    guard = Guard(slow, Access(token=TOKEN, hosts=access.hosts, posts=3, bodies=100))

    async def many() -> list[int]:
        return list(await asyncio.gather(*(answer(guard, [b"{}"]) for _ in range(10))))

    statuses = asyncio.run(many())
    assert sorted(statuses) == [200] * 3 + [429] * 7
    assert most == 3 and guard.posting == 0


def test_a_header_that_is_sent_twice_is_refused(access: Access) -> None:
    client = TestClient(Guard(echo, access), base_url=BASE)
    twice = [("Host", f"127.0.0.1:{PORT}"), ("Authorization", f"Bearer {TOKEN}"), ("Authorization", "Bearer x")]
    assert client.get("/", headers=twice).status_code == 400


# --------------------------------------------------------------------------------------------------------------- files


def test_pictures_are_known_by_id_alone(client: TestClient) -> None:
    names = client.get("/api/runs/two/errors").json()
    assert client.get(f"/runs/two/tiles/{names['ids'][0]}").headers["content-type"] == "image/jpeg"
    assert client.get(f"/runs/two/tiles/{names['ids'][0]}?full=1").status_code == 200
    for bad in ("0" * 16, names["names"][0], "..%2f..%2fcohort.csv", "%00", "....", names["ids"][0].upper()):
        assert client.get(f"/runs/two/tiles/{bad}").status_code == 404, bad
    for bad in ("..", "%2e%2e", ".", "two%2f..%2ftwo", "nothing"):
        assert client.get(f"/runs/{bad}/tiles/{names['ids'][0]}").status_code == 404, bad


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="the system has no links")
def test_links_and_ways_out_are_not_followed(tmp_path: Path, access: Access) -> None:
    root, secret = tmp_path / "images", tmp_path / "secret.png"
    (root / "folder").mkdir(parents=True)
    from PIL import Image

    Image.new("RGB", (32, 32)).save(secret)
    Image.new("RGB", (32, 32)).save(root / "fine.png")
    (root / "link.png").symlink_to(secret)
    (root / "way").symlink_to(tmp_path)
    os.mkfifo(root / "pipe.png")
    names = ["fine.png", "link.png", "way/secret.png", "../secret.png", str(secret), "pipe.png", "gone.png", "folder"]
    run = tmp_path / "runs" / "r"
    (run / "records").mkdir(parents=True)
    (run / "run.log").write_text("")
    (run / "records" / "cohort.csv").write_text("image_path,label\n" + "".join(f"{name},a\n" for name in names))
    (run / "records" / "location.json").write_text(
        json.dumps({"schema": "counterstain.location/1", "root": "../../../images"})
    )
    client = anyone(tmp_path / "runs", access)
    status = {name: client.get(f"/runs/r/tiles/{image_id(name)}", headers=GOOD).status_code for name in names}
    assert status.pop("fine.png") == 200
    assert set(status.values()) <= {403, 404}, status
    (tmp_path / "runs" / "linked").symlink_to(run)
    assert client.get(f"/runs/linked/tiles/{image_id('fine.png')}", headers=GOOD).status_code == 404


def test_what_a_picture_says_of_a_patient_stays_here(tmp_path: Path, client: TestClient, runs: Path) -> None:
    """Text chunks, EXIF and profiles of a file aren't sent: the pixels are."""
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    names = client.get("/api/runs/two/errors").json()
    path = runs.parent / "images" / names["names"][1]
    info = PngInfo()
    info.add_text("Patient", "Jane Roe 1970")
    Image.new("RGB", (24, 24), (1, 2, 3)).save(path, pnginfo=info)
    assert b"Jane Roe" in path.read_bytes()
    content = client.get(f"/runs/two/tiles/{names['ids'][1]}?full=1").content
    assert content[:2] == b"\xff\xd8" and b"Jane" not in content


# ------------------------------------------------------------------------------------------------------------- address


def test_only_this_machine_is_served_unless_asked_for() -> None:
    check_address("127.0.0.1", token=None)
    check_address("localhost", token=None)
    for host in ("0.0.0.0", "::", "192.0.2.7", "example.org"):
        with pytest.raises(InputError, match="--token"):
            check_address(host, token=None)
        with pytest.raises(InputError, match="32 characters"):
            check_address(host, token="short")
        check_address(host, token="x" * 32)


def test_hosts_are_this_server_and_no_other() -> None:
    assert allowed_hosts("127.0.0.1", 1) == {"127.0.0.1:1", "localhost:1"}
    assert allowed_hosts("0.0.0.0", 1) == {"127.0.0.1:1", "localhost:1"}
    assert "192.0.2.7:1" in allowed_hosts("192.0.2.7", 1)
    assert "[::1]:1" in allowed_hosts("::1", 1)
