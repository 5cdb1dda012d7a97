"""The whole main job on synthetic histology: a cohort with known truth, two arms, a slide, a finished report."""

import os
from dataclasses import replace
from pathlib import Path

from counterstain.errors import InputError
from counterstain.files import read_json, write_bytes
from counterstain.phantom.tiles import Phantom, write_phantom
from counterstain.progress import Progress
from counterstain.run_folder import as_written, record_path
from counterstain.study.demo_slide import read_phantom_slide, slides_can_be_read
from counterstain.study.init import study_text
from counterstain.study.old_protocol import add_old_protocol
from counterstain.study.run import run_study

__all__ = ["run_demo"]

# Small enough for four minutes on two cores, long enough that the networks learn what tells the classes apart; many
# patients with few tiles each, of whom half are tested: it is their number that makes a verdict clear. Hard enough that
# a network which knows a patient's other images has an advantage, which is what the old protocol claims too much by.
PHANTOM = Phantom(patients=160, tiles_per_patient=5, sites=2, tile_px=257, difficulty=0.62, seed=0)
DEMO_TEST = 0.5
DEMO_TILE_PX = 128
TILE_MPP = PHANTOM.mpp * PHANTOM.tile_px / DEMO_TILE_PX  # of a tile as the networks get it
DEMO_EPOCHS = 28
OLD_EPOCHS = 12  # of the old protocol, which has every image six times
DEMO_LEARNING_RATE = "5.0e-4"
DEMO_ARMS = """\
arms:
  given-32:     {network: given,    batch: 32}    # the given network as it was
  modified-200: {network: modified, batch: 200}   # a second dense layer, and a larger batch
"""


def run_demo(folder: Path, *, seeds: int = 3, patients: int = PHANTOM.patients, talk: Progress | None = None) -> Path:
    """Make up a cohort, write its study, run it, beside it the old protocol, and read a slide; resumes what is there.

    Args:
        folder: gets phantom/, study.yaml, old-protocol.yaml, store/, runs/, slides/ and slide-maps/.
        seeds: how often each arm is trained.
        patients: how many are made up.
        talk: where progress is told.

    Returns:
        The run's folder.
    """
    talk = talk or Progress()
    if seeds < 1 or patients < 8:
        raise InputError(f"the demo needs 1 seed and 8 patients or more, got {seeds} and {patients}")
    phantom = replace(PHANTOM, patients=patients)
    images = folder / "phantom"
    # The table is written last, so it says that the images are all there.
    if not (images / "cohort.csv").is_file():
        talk.say(f"phantom: drawing the tiles of {patients} patients")
        write_phantom(phantom, images, workers=min(2, os.cpu_count() or 1), progress=talk.stored)
    study = folder / "study.yaml"
    text = study_text(
        name="demo",
        cohort="phantom/cohort.csv",
        test=DEMO_TEST,
        arms=DEMO_ARMS,
        seeds=str(list(range(seeds))),
        tile_px=DEMO_TILE_PX,
        tile_comment="half the size that the networks were designed for, to finish in minutes",
        epochs=DEMO_EPOCHS,
        patience=20,
        learning_rate=DEMO_LEARNING_RATE,
    )
    if not study.is_file() or study.read_text(encoding="utf-8") != text:
        write_bytes(study, text)

    def finish(run: Path) -> None:
        arm = next(iter(read_json(as_written(record_path(run, "resolved.json")))["arms"]))
        talk.say("old protocol: the same images, augmented before a split at random, to see what it would claim")
        talk.say(add_old_protocol(run, folder, arm=arm, epochs=OLD_EPOCHS, talk=talk))
        if not slides_can_be_read():
            talk.say("slide: skipped; to read slides: pip install 'counterstain[slides]'")
            return
        read_phantom_slide(
            run / "arms" / arm / "seed-0" / "fold-0-0", phantom, folder, run, mpp=TILE_MPP, arm=arm, talk=talk
        )

    return run_study(study, talk=talk, before_report=finish)
