"""Verbs that check: the machine, the bytes of a run or a model, and whether a run repeats."""

from pathlib import Path

from counterstain.api.process import working
from counterstain.study.doctor import Health
from counterstain.study.doctor import doctor as look
from counterstain.study.reproduce import Reproduction
from counterstain.study.reproduce import reproduce as repeat
from counterstain.study.verify import Verification
from counterstain.study.verify import verify as check_files

__all__ = ["doctor", "reproduce", "verify"]


def doctor(folder: Path | str = ".") -> Health:
    """Check this machine: processor, memory, disk, versions, readers, and pixels that are known.

    Args:
        folder: where studies are to lie; its disk is looked at.

    Returns:
        The checks; false where something will fail or be wrong.
    """
    return look(folder)


def verify(folder: Path | str) -> Verification:
    """Check the hash of every file of a run, a model or an export against its own list.

    Args:
        folder: of a finished run, a bundle or an export.

    Returns:
        What was found; false where a file has changed or is missing.

    Raises:
        InputError: If the folder has no such list.
    """
    return check_files(folder)


def reproduce(
    run: Path | str,
    *,
    data: Path | str | None = None,
    arm: str | None = None,
    evaluation: bool = False,
    out: Path | str | None = None,
    verbose: bool = False,
) -> Reproduction:
    """Repeat a finished run and say whether it comes out the same: bit-equal, within the spread, or different.

    Args:
        run: folder of a finished run.
        data: where the images or their table lie now; by default where the study said.
        arm: repeat the trainings of this arm alone; evaluation: repeat the evaluation alone, which needs no images.
        out: keep the repetition in this new folder; by default it is thrown away.
        verbose: show progress on stderr.

    Returns:
        The outcome and the first place that differs; false where it is different or the run's files have changed.

    Raises:
        InputError: If the folder is no finished run, the images are not there, or there is no such arm.
    """
    with working(verbose=verbose) as talk:
        return repeat(run, data=data, arm=arm, evaluation=evaluation, out=out, talk=talk)
