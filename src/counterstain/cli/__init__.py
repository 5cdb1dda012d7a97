"""The command line: each verb parses, calls one public function, and prints. stdout is data, stderr is talk."""

import signal
import sys

from counterstain.cli import handover, judging, learning, slides, studies, trust
from counterstain.cli.common import app

__all__ = ["app", "handover", "judging", "learning", "main", "slides", "studies", "trust"]


def main() -> None:
    """Run one verb."""
    # A scheduler's SIGTERM ends a run like Ctrl-C does: nothing is half written, and the exit code says which.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    app()
