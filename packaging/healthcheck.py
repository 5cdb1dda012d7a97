"""The container's health: what `serve` answers. A container that runs another verb is healthy while it runs."""

import os
import sys
import urllib.error
import urllib.request
from pathlib import Path


def healthy(command: list[str], port: int) -> bool:
    """Whether the process that the container was started with does its work; a study has no port to ask."""
    if "serve" not in command:
        return True
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/health/live", timeout=20).close()
    except urllib.error.HTTPError as answer:
        return answer.code < 500  # it asks for its token, which is not known here: it is alive
    except OSError as error:
        print(error)
        return False
    return True


if __name__ == "__main__":
    started = Path("/proc/1/cmdline").read_text(encoding="utf-8").split("\0")
    sys.exit(not healthy(started, int(os.environ.get("COUNTERSTAIN_PORT", "8765"))))
