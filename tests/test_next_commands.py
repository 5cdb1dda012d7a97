"""What each verb says comes next runs as it is printed: from a phantom, "Next:" alone leads through every stage."""

import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from counterstain.cli import app
from counterstain.cli.next_commands import command, free_place
from counterstain.cli.options import AT_WORK

RUNNER = CliRunner()
# What makes a command small; nothing else of it is changed.
SMALL = {
    "train": ["--epochs", "1", "--tile-px", "127", "--device", "cpu"],
    "run": ["--set", "training.epochs=1", "--set", "seeds=[0, 1]", "--set", "training.device=cpu"],
    "robustness": ["--sample", "8", "--device", "cpu"],
    "explain": ["--trials", "4", "--each", "2", "--device", "cpu"],
    "predict": ["--device", "cpu"],
}
PLACE = {"explain": "explanation", "robustness": "robustness", "audit": "audit"}  # by default
FIRST = "counterstain phantom --out tiles --patients 12 --tiles 3 --tile-px 64 --difficulty 0"


def printed(output: str) -> list[str]:
    """The commands below "Next:"."""
    lines = output.partition("\nNext:\n")[2].splitlines()
    return [line.strip() for line in lines if line.startswith("  counterstain ")]


def follow(first: list[str]) -> Iterator[tuple[str, str, int, str]]:
    """(command, verb, exit code, output) of these and of all that they lead to, each verb at most twice."""
    left, done, count = list(first), set[str](), dict[str, int]()
    while left:
        line = left.pop(0)
        words = shlex.split(line)[1:]
        count[words[0]] = count.get(words[0], 0) + 1
        if line in done or count[words[0]] > 2 or words[0] == "serve":  # it serves until it is stopped
            continue
        done.add(line)
        place = words[words.index("--out") + 1] if "--out" in words else PLACE.get(words[0], "")
        if place and Path(place).exists() and words[0] != "predict":
            words += ["--out", f"other-{len(done)}"]  # the same place was free for two commands, and one has run
        result = RUNNER.invoke(app, [*words, *SMALL.get(words[0], [])])
        assert result.exit_code in (0, 3), f"{line}\n{result.output}\n{result.exception!r}"
        yield line, words[0], result.exit_code, result.output
        left += printed(result.output)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_comes_next_leads_through_every_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    verbs = set()
    for line, verb, code, output in follow([FIRST, "counterstain cohort tiles/cohort.csv --positive malignant"]):
        assert code == 0 or verb in ("explain", "audit", "privacy"), f"{line}\n{output}"
        verbs.add(verb)
    assert verbs >= {
        "phantom", "init", "run", "cohort", "audit", "split", "train", "evaluate", "explain", "robustness", "export",
        "predict", "privacy",
    }  # fmt: skip


def test_a_parameter_is_handed_on_only_where_it_means_the_same() -> None:
    given = {"images": Path("my tiles"), "seed": 3, "unit": "image", "columns": ["label=dx"], "out": Path("s.csv")}
    token = AT_WORK.set(("split", given))
    try:
        assert command("audit", splits=Path("s.csv")) == (
            "counterstain audit 'my tiles' s.csv --unit image --columns label=dx"
        )  # the seed of the division is no setting of an audit, and its --out is its own
        assert "--seed" not in command("explain", model=Path("m"))  # there it is which training of a run
        assert command("audit", rotated=False, unit=None).endswith("'my tiles' --no-rotated --columns label=dx")
        assert command("audit", alone=True, images="x") == "counterstain audit x"
        assert command("export", model="m", out="x", formats="wsinfer,onnx,openvino") == "counterstain export m --out x"
        with pytest.raises(KeyError, match="no parameter colour"):
            command("audit", colour=1)
    finally:
        AT_WORK.reset(token)


def test_what_is_written_finds_its_place_free(tmp_path: Path) -> None:
    (tmp_path / "page.html").touch()
    (tmp_path / "page-2.html").touch()
    assert free_place(tmp_path / "page.html") == tmp_path / "page-3.html"
    assert free_place(tmp_path / "card") == tmp_path / "card"
