"""The command line: each verb parses, calls one public function, and prints. stdout is data, stderr is talk."""

import codecs
import io
import json
import os
import signal
import sys
from pathlib import Path

from typer.models import CommandInfo

from counterstain.cli import (
    check_verbs,
    data_verbs,
    evaluation_verbs,
    health_verbs,
    model_verbs,
    predict,
    run_verbs,
    serve,
    slide_verbs,
    slides_dicom,
    slides_phantom,
    slides_run,
    study_verbs,
)
from counterstain.cli.options import app, system_words
from counterstain.system import keep_pages, wait_shortly

__all__ = [
    "app",
    "check_verbs",
    "data_verbs",
    "evaluation_verbs",
    "health_verbs",
    "main",
    "model_verbs",
    "predict",
    "run_verbs",
    "serve",
    "slide_verbs",
    "slides_dicom",
    "slides_phantom",
    "slides_run",
    "study_verbs",
]

# As --help lists them: in the order in which they are met.
_ORDER = [
    "demo",
    "init",
    "run",
    "search",
    "lr-find",
    "report",
    "runs",
    "publish",
    "clean",
    "cohort",
    "split",
    "audit",
    "augment",
    "train",
    "predict",
    "evaluate",
    "compare",
    "robustness",
    "explain",
    "features",
    "export",
    "serve",
    "inspect",
    "phantom",
    "phantom-slides",
    "verify",
    "sign",
    "reproduce",
    "doctor",
    "privacy",
    "sbom",
]


def _place(command: CommandInfo) -> int:
    """Where --help lists a command; one without a place comes last, and a test names it."""
    name = command.name or (command.callback.__name__ if command.callback else "")
    return _ORDER.index(name) if name in _ORDER else len(_ORDER)


app.registered_commands.sort(key=_place)


def main() -> None:
    """Run one verb. The process is the command's own: memory and waiting threads are set for it here."""
    wait_shortly()
    keep_pages()
    _open_streams()
    # A scheduler's SIGTERM ends a run like Ctrl-C does: nothing is half written, and the exit code says which.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    try:
        app()
    except (ImportError, MemoryError) as error:  # before a verb began: what it imports didn't fit into memory
        words = system_words(error)
        if words is None:
            raise
        print(f"counterstain: {words}", file=sys.stderr)
        sys.exit(2)


def _open_streams() -> None:
    """Where stdout or stderr is closed, nothing is shown; where it isn't UTF-8, "\\u00b5m" is, which is JSON, too."""
    codecs.register_error("written-out", _written_out)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115 (until the process ends)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="written-out")


def _written_out(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return json.dumps(error.object[error.start : error.end])[1:-1], error.end
