"""Progress as it is seen: lasting lines above a bar in a terminal of any width, and lines alone in a pipe."""

import io
import re
import sys
import types
from pathlib import Path

import pytest
from rich.console import Console

from counterstain import terminal_progress
from counterstain.progress import Progress, TrainingProgress

LABEL = "training 1 of 2: an-arm-with-quite-a-long-name, seed 0"


def work(talk: Progress) -> None:
    talk.say("split by patient: train 32 images of 8 patients, val 8 images of 2 patients, test 8 images of 2 patients")
    with talk.working_on("audit: copies and leaks"):
        if talk.step is not None:
            talk.step("rotated crops", 5, 10)
    assert talk.trained is not None
    for epoch in (1, 2):
        for seen in (8, 16):
            talk.trained(LABEL, TrainingProgress(epoch, 3, seen, 16, 0.6, 0.7, 90.0))
        talk.trained(LABEL, TrainingProgress(epoch, 3, 16, 16, 0.6, 0.7, 90.0, 0.65, 0.66))
    talk.say("training 1 of 2: best epoch 2 of 2, 12 s; about 24 s left")


def terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> list[str]:
    """What stays on the screen of such a terminal, line by line."""
    screen = io.StringIO()

    def console(**options: object) -> Console:
        return Console(file=screen, width=width, force_terminal=True, color_system=None, highlight=False)

    monkeypatch.setattr(terminal_progress, "Console", console)
    monkeypatch.setattr(sys, "stderr", types.SimpleNamespace(isatty=lambda: True, write=screen.write))
    with terminal_progress.talking() as talk:
        work(talk)
    shown = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).replace("\r", "\n")
    return [line.rstrip() for line in shown.split("\n")]


@pytest.mark.parametrize("width", [40, 80, 100, 140])
def test_no_line_is_wider_than_the_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    lines = terminal(monkeypatch, width)
    assert max(map(len, lines)) <= width
    assert sum(line.startswith("  epoch ") for line in lines) == 2
    assert "audit: copies and leaks" in lines
    assert lines.index("audit: copies and leaks") < next(
        n for n, line in enumerate(lines) if line.startswith("  epoch")
    )


def test_sentences_are_broken_at_words_and_set_in(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = terminal(monkeypatch, 80)
    start = lines.index("split by patient: train 32 images of 8 patients, val 8 images of 2 patients,")
    assert next(filter(None, lines[start + 1 :])) == "  test 8 images of 2 patients"


def test_a_number_is_not_parted_from_its_unit() -> None:
    line = "training 1 of 6, given-8/seed-0/fold-0-0: best epoch 4 of 4, 16 s; about 81 s left"
    assert terminal_progress._hung(line, 78)[1] == "  81 s left"


def test_in_a_pipe_there_are_lines_alone_one_for_every_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    with terminal_progress.talking() as talk:
        work(talk)
    out, err = capsys.readouterr()
    assert out == ""
    lines = err.splitlines()
    assert lines[1:3] == ["audit: copies and leaks", LABEL]
    assert [line[:16] for line in lines[3:5]] == ["  epoch 1 of 3: ", "  epoch 2 of 3: "]
    assert "validation loss 0.6500" in lines[3] and "\x1b" not in err


def test_in_a_notebook_lines_stand_with_the_results(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    terminal_progress.say("reading")
    assert capsys.readouterr() == ("reading\n", "")
