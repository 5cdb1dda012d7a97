"""How fast the local page answers, and what a good client feels while eleven kinds of abuse run.

    python benchmarks/serving.py [MODEL_FOLDER]

Prints one JSON line. Everything goes to a server of its own on 127.0.0.1; each abuse is bounded in count and time.
"""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

TOKEN = "a-token-of-this-benchmark-only-0123456789"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
PORT = 8799
URL = f"http://127.0.0.1:{PORT}"
SECONDS = 4.0


def main() -> None:
    if sys.argv[1:2] == ["--abuse"]:
        be_abusive(sys.argv[2])
        return
    model = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        make_runs(home)
        server = start(home, model)
        try:
            record = {"cores": os.cpu_count(), **pages(server.pid)}
            if model is not None:
                record |= throughput(home, model, server.pid)
            record |= abused(server.pid)
        finally:
            server.terminate()
            server.wait(60)
    print(json.dumps(record))


def make_runs(home: Path) -> None:
    """200 runs, and one with a cohort of 100,000 tiles that share few files."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "reports"))
    from make_run import make_run

    from counterstain.cohort.image_paths import write_location

    one = make_run(home / "runs" / "run-000", arms=("given-32", "modified-200"), patients=10, images_each=6)
    for number in range(1, 200):
        shutil.copytree(one, home / "runs" / f"run-{number:03}")
    large = home / "runs" / "large"
    (large / "records").mkdir(parents=True)
    (large / "run.log").write_text("")
    (home / "images").mkdir()
    random = np.random.default_rng(0)
    rows = ["image_path,label,patient_id,slide_id,site,mpp,x,y,split"]
    for number in range(100_000):
        name = f"{'ab'[number % 2]}/P{number // 100:04}_{number:06}.png"
        rows.append(
            f"{name},{'ab'[number % 2]},P{number // 100:04},,site-{number % 5},0.5,,,{'' if number % 5 else 'test'}"
        )
        if number < 2000:
            path = home / "images" / name
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(random.integers(0, 255, (96, 96, 3), dtype=np.uint8)).save(path)
    (large / "records" / "cohort.csv").write_text("\n".join(rows) + "\n")
    write_location(large / "records", home / "images")


def start(home: Path, model: Path | None) -> "subprocess.Popen[bytes]":
    options = ["--model", str(model)] if model else []
    code = "from counterstain.cli import main; main()"
    server = subprocess.Popen(
        [sys.executable, "-c", code, "serve", str(home / "runs"), "--port", str(PORT), "--token", TOKEN, *options],
        stdout=subprocess.DEVNULL,
    )
    for _ in range(300):
        try:
            httpx.get(f"{URL}/v2/health/live", headers=HEADERS)
            return server
        except httpx.TransportError:
            time.sleep(0.1)
    raise SystemExit("the server did not start")


def worked_ms(pid: int) -> float:
    """What a process has worked, to 10 ms; other programs do not change it."""
    values = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return 1000 * (int(values[11]) + int(values[12])) / os.sysconf("SC_CLK_TCK")


def timed(client: httpx.Client, path: str) -> float:
    begun = time.perf_counter()
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.text[:200])
    return 1000 * (time.perf_counter() - begun)


def pages(pid: int) -> dict[str, float]:
    """Milliseconds, and those that the server worked: of the first request and of later ones."""
    with httpx.Client(base_url=URL, headers=HEADERS, timeout=60) as client:
        found = {}
        for name, path in (("studies_200", "/"), ("cohort_100000", "/api/runs/large/cohort"),
                           ("errors", "/runs/run-000/errors")):  # fmt: skip
            before = worked_ms(pid)
            found[f"{name}_first_ms"] = round(timed(client, path), 1)
            found[f"{name}_first_cpu_ms"] = worked_ms(pid) - before
            found[f"{name}_ms"] = round(float(np.median([timed(client, path) for _ in range(5)])), 1)
    return found


def throughput(home: Path, model: Path, pid: int) -> dict[str, float]:
    """Images per second of `load_model(…).predict` of files, and of 32 clients of the server, with their p99."""
    from counterstain.study.model import load_model

    paths = sorted((home / "images").glob("*/*.png"))[:256]
    contents = [path.read_bytes() for path in paths]
    loaded = load_model(model)
    loaded.predict(paths[:64])
    taken: list[float] = []

    def predict() -> float:
        begun = time.perf_counter()
        loaded.predict(paths)
        return len(paths) / (time.perf_counter() - begun)

    async def ask() -> float:
        waiting = list(contents)

        async def one() -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
            while waiting:
                content = waiting.pop()
                begun = time.perf_counter()
                while (status := await sent(reader, writer, content)) == 429:
                    await asyncio.sleep(0.005)
                assert status == 200, status
                taken.append(time.perf_counter() - begun)
            writer.close()

        begun = time.perf_counter()
        await asyncio.gather(*(one() for _ in range(32)))
        return len(contents) / (time.perf_counter() - begun)

    asyncio.run(ask())
    taken.clear()
    before = worked_ms(pid)
    rates = [(predict(), asyncio.run(ask())) for _ in range(5)]  # by turns: other programs come and go
    served_cpu = (worked_ms(pid) - before) / (5 * len(paths))
    begun = time.process_time()
    predict()
    predict_cpu = 1000 * (time.process_time() - begun) / len(paths)
    direct, served = (float(np.median(rate)) for rate in zip(*rates, strict=True))
    return {
        "predict_images_s": round(direct, 1), "served_images_s": round(served, 1),
        "served_share": round(float(np.median([own / other for other, own in rates])), 3),
        "served_p99_ms": round(1000 * float(np.quantile(taken, 0.99)), 1),
        "predict_cpu_ms_per_image": round(predict_cpu, 2), "served_cpu_ms_per_image": round(served_cpu, 2),
    }  # fmt: skip


async def sent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, content: bytes) -> int:
    """The status of one picture's answer. By hand: 32 clients of httpx take a third of the two cores that they ask."""
    writer.write(head("/api/predict", "image/png", f"Content-Length: {len(content)}") + content)
    answer = await reader.readuntil(b"\r\n\r\n")
    length = next(line for line in answer.lower().split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.partition(b":")[2]))
    return int(answer.split(b" ", 2)[1])


# ---------------------------------------------------------------------------------------------------------- the abuses


def raw(content: bytes, *, then: Callable[["object"], None] | None = None) -> None:
    import socket

    with socket.create_connection(("127.0.0.1", PORT), timeout=5) as line:
        line.sendall(content)
        if then is not None:
            then(line)


def head(path: str, kind: str, *more: str) -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        f"Host: 127.0.0.1:{PORT}",
        f"Authorization: Bearer {TOKEN}",
        f"Content-Type: {kind}",
    ]
    return ("\r\n".join([*lines, *more]) + "\r\n\r\n").encode()


def trickle(line: "object") -> None:
    for _ in range(20):
        line.sendall(b"x")  # type: ignore[attr-defined]
        time.sleep(0.2)


def chunks(line: "object") -> None:
    for _ in range(100):
        line.sendall(b"100000\r\n" + b"x" * 0x100000 + b"\r\n")  # type: ignore[attr-defined]


def thousand() -> None:
    """A thousand connections at once that ask for nothing, and are gone after a second."""
    import socket

    with contextlib.ExitStack() as held:
        for _ in range(250):  # by each of four abusers
            held.enter_context(socket.create_connection(("127.0.0.1", PORT), timeout=5))
        time.sleep(1)


ABUSES: dict[str, Callable[[], None]] = {
    "body of 1 GB": lambda: raw(head("/api/predict", "image/png", "Content-Length: 1000000000")),
    "endless chunks": lambda: raw(head("/api/predict", "image/png", "Transfer-Encoding: chunked"), then=chunks),
    "endless chunks, no token": lambda: raw(
        f"POST /api/predict HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\nTransfer-Encoding: chunked\r\n\r\n".encode(),
        then=chunks,
    ),
    "slow head": lambda: raw(b"POST /api/predict HTTP/1.1\r\nHost: ", then=trickle),
    "slow body": lambda: raw(head("/api/predict", "image/png", "Content-Length: 1000"), then=trickle),
    "form of many parts": lambda: raw(head("/api/predict", "multipart/form-data; boundary=x", "Content-Length: 10")),
    "gzip body": lambda: raw(head("/api/predict", "image/png", "Content-Encoding: gzip", "Content-Length: 10")),
    "way out of the folder": lambda: raw(
        f"GET /runs/..%2f..%2fetc/tiles/passwd HTTP/1.1\r\nHost: 127.0.0.1:{PORT}\r\n\r\n".encode()
    ),
    "address instead of a picture": lambda: raw(
        head("/api/predict", "image/png", "Content-Length: 22") + b"http://127.0.0.1/a.png"
    ),
    "a thousand connections": lambda: thousand(),
    "polyglot": lambda: raw(head("/api/predict", "image/png", "Content-Length: 28") + b"<svg onload='alert(1)'/>    "),
}


def good(seconds: float) -> float:
    """p99 in ms of a good client that looks at pages and tiles, one request after the other."""
    taken = []
    with httpx.Client(base_url=URL, headers=HEADERS, timeout=30) as client:
        names = client.get("/api/runs/large/cohort").json()["ids"][:200]
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            taken.append(timed(client, f"/runs/large/tiles/{names[len(taken) % 200]}"))
            time.sleep(0.01)
    return float(np.quantile(taken, 0.99))


def abused(pid: int) -> dict[str, float]:
    """The good client's p99 alone and during each abuse, with four abusers at once; the server's most memory in MB.

    Alone is measured before each abuse anew, for other programs on this machine come and go.
    """
    good(2)
    found: dict[str, float] = {}
    for name in ABUSES:
        calm = good(SECONDS / 2)
        command = [sys.executable, __file__, "--abuse", name]  # in a process of their own: nothing of it slows `good`
        abusers = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        abusers.stdout.readline()  # they have begun
        during = good(SECONDS / 2)
        abusers.communicate()
        found |= {f"alone before {name}, p99_ms": round(calm, 1), f"{name}, p99_ms": round(during, 1)}
        found[f"{name}, times"] = round(during / calm, 2)
    found["most_memory_mb"] = round(most_memory(pid) / 1024)
    return found


def be_abusive(name: str) -> None:
    """Four of one kind until standard input ends."""
    stop = threading.Event()

    def repeat() -> None:
        while not stop.is_set():
            with contextlib.suppress(OSError):
                ABUSES[name]()
            time.sleep(0.02)

    threads = [threading.Thread(target=repeat, daemon=True) for _ in range(4)]
    for thread in threads:
        thread.start()
    print("begun", flush=True)
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join(10)


def most_memory(pid: int) -> int:
    """kB, as the system counts it (VmHWM)."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


if __name__ == "__main__":
    main()
