"""The verb that repeats a run."""

from pathlib import Path

from counterstain.api.process import working
from counterstain.errors import says_arguments
from counterstain.files import StrPath
from counterstain.study.reproduce import Reproduction
from counterstain.study.reproduce import reproduce as repeat

__all__ = ["reproduce"]


@says_arguments
def reproduce(
    run: StrPath,
    *,
    data: StrPath | None = None,
    arm: str | None = None,
    evaluation: bool = False,
    out: Path | str | None = None,
    verbose: bool = False,
) -> Reproduction:
    """Repeat a finished run from its own folder and say whether it comes out the same.

    Args:
        run: the run, or its folder.
        data: where the images or their table lie now.
        arm: repeat the trainings of this arm alone.
        evaluation: repeat the evaluation alone; needs no images.
        out: keep the repetition in this new folder.
        verbose: show progress on stderr.

    Returns:
        Bit-equal, within the spread, or different, with the first place that differs.

    Raises:
        InputError: If the run is not finished or cannot be repeated.
    """
    with working(verbose=verbose) as talk:
        return repeat(run, data=data, arm=arm, evaluation=evaluation, out=out, talk=talk)
