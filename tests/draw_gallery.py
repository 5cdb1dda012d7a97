"""Draw docs/gallery.md: every picture that the commands write, of one small study on the phantom, with its command.

    python tests/draw_gallery.py             # docs/gallery.md and docs/pictures/gallery/
    python tests/draw_gallery.py FOLDER      # into FOLDER instead of docs

A picture that is written and has no words below makes it end with an error: nothing new is left out.
"""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parent.parent
WIDEST_PX, COLOURS = 600, 48

STUDY = """\
name: gallery
cohort: {path: tiles/cohort.csv}
tiles: {tile_px: 127}
split: {test: 0.4}
training: {epochs: 20, learning_rate: 0.001, threads: 1, precision: fp32}
arms: {given: {network: given, batch: 16}, modified: {network: modified, batch: 16}}
seeds: [0, 1]
"""

PREFACE = """\
# Gallery

Pictures that the commands write, from one small study on the [phantom](phantom.md), each with the command that made
it. All were drawn by `python tests/draw_gallery.py`, which fails if a picture has no words; the numbers
mean nothing. Figures exist as SVG too, and beside each lies a CSV of what was drawn. `counterstain report runs/gallery
--figures pdf --width 85mm` draws them for [a paper](report.md). Pages (`report.html`, the robustness card, `evaluate
--out page.html`) hold the same pictures. The study, `study.yaml`:
"""

# What is typed, the pictures that it writes, and what each shows; None leaves one out, since it is like another.
STEPS: tuple[tuple[str, str, dict[str, str | None]], ...] = (
    ("phantom --out tiles --patients 40 --tiles 6 --tile-px 127 --difficulty 0", "", {}),
    (
        "run study.yaml", "runs/gallery/figures/*.png",
        {
            "arms": "Each arm and seed with its interval, over the bar of guessing.",
            "differences": "Every difference between arms with its interval.",
            "roc": "ROC curves, one per seed, and the chosen threshold.",
            "pr": "Precision and recall, over the share of positives.",
            "reliability-1": "Stated probability against observed share, before and after calibration.",
            "net_benefit": "Net benefit of deciding by the model, against treating all or none.",
            "confusion-given": "Confusion matrix of one arm, at the frozen threshold.",
            "history-given": "Loss and accuracy by epoch, training and validation.",
            "split": "Patients and images of each class in every part.",
            "augmentation": "One tile as the augmentation shows it.",
            "reliability-.*|confusion-.*|history-.*": None,
        },
    ),
    (
        "robustness runs/gallery runs/gallery --splits runs/gallery/records/splits.csv --out card --runtime torch",
        "card/**/*.png",
        {
            "examples": "One tile under every trial.",
            "curves_auroc": "AUROC under stain shifts, blur, JPEG, exposure and a wrong µm/px.",
            "curves_decisions": "The share of decisions that flip under the same.",
        },
    ),
    (
        "explain runs/gallery runs/gallery --splits runs/gallery/records/splits.csv --part train --out explanation "
        "--device cpu --trials 8 --each 4", "explanation/[fo]*/*.png",
        {
            "curves": "Insertion and deletion: what the map's pixels are worth to the model.",
            "00[1-3]": "A tile, and what speaks for and against its class.",
            r"\d+": None,
        },
    ),
    ("lr-find study.yaml --steps 60 --arm given --out lr_find", "lr_find/*.png",
     {"lr_find": "Loss against a rising learning rate."}),
    ("predict runs/gallery tiles --out predictions.csv --sheet sheet.png --runtime torch --device cpu", "sheet.png",
     {"sheet": "The images that a model called, by class and probability."}),
    ("phantom-slides --out slides --slides 1 --size-px 4096 --pen 1", "", {}),
    ("inspect slides --mpp 0.5 --tile-px 127 --out pictures", "pictures/*.png",
     {".*": "A slide with the tiles that would be cut; pen, blur and glass are left out."}),
    ("slides run runs/gallery slides --out maps --mpp 0.5 --device cpu --runtime torch", "maps/heatmaps/*.png",
     {".*": "A model's probabilities over the slide, with scale bars."}),
)  # fmt: skip


def caption(name: str, words: dict[str, str | None]) -> str | None:
    """What a picture shows; None where it is like another.

    Raises:
        SystemExit: If there are no words for it.
    """
    for pattern, text in words.items():
        if re.fullmatch(pattern, name):
            return text
    raise SystemExit(f"{name}.png is written and has no words in tests/draw_gallery.py: say what it shows")


def draw(out: Path) -> None:
    """Run the commands in a temporary folder, and write the page and its pictures."""
    pictures = out / "pictures" / "gallery"
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.png"):
        old.unlink()
    lines = [*PREFACE.splitlines(), "", "```yaml", *STUDY.splitlines(), "```"]
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        (folder / "study.yaml").write_text(STUDY, encoding="utf-8")
        for command, where, words in STEPS:
            run(command, folder)
            lines += ["", f"## {command.split()[0]}", "", f"`counterstain {command}`"]
            for name, path, text in shown(folder, where, words):
                shrink(path, pictures / f"{name}.png")
                lines += ["", f"**{text}**", "", f"![{text}](pictures/gallery/{name}.png)"]
    (out / "gallery.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def run(command: str, folder: Path) -> None:
    """One command; its words where it fails."""
    program = [sys.executable, "-m", "counterstain", *command.split()]
    done = subprocess.run(program, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 3):
        raise SystemExit(f"counterstain {command} ended with {done.returncode}: {done.stderr[-800:]}")


def shown(folder: Path, where: str, words: dict[str, str | None]) -> Iterator[tuple[str, Path, str]]:
    """Name in the gallery, file and words of each picture that is shown."""
    found = sorted(folder.glob(where)) if where else []
    if where and not found:
        raise SystemExit(f"{where}: no picture was written")
    for path in found:
        if (text := caption(path.stem, words)) is not None:
            yield f"{where.partition('/')[0].removesuffix('.png')}-{path.stem}", path, text


def shrink(source: Path, target: Path) -> None:
    """A copy of few kilobytes: at most 600 px wide, of 48 colours."""
    with Image.open(source) as picture:
        small = picture.convert("RGB")
        small.thumbnail((WIDEST_PX, 2 * WIDEST_PX))
        small.quantize(COLOURS).save(target, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs")
