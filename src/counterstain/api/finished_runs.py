"""Verbs about finished runs: list them, hand them to a tracker, free what is no longer needed."""

from pathlib import Path

from counterstain.errors import says_arguments
from counterstain.files import StrPath
from counterstain.study.cleanup import Cleanup
from counterstain.study.run_list import RunList

__all__ = ["clean", "publish", "runs"]


@says_arguments
def runs(folder: StrPath = "runs") -> RunList:
    """Every run in a folder and below, newest first: its verdict, and each arm's primary measure with its interval.

    Args:
        folder: of runs, or above; or one run.

    Raises:
        InputError: If there is no such folder.
    """
    from counterstain.study.run_list import list_runs

    return list_runs(folder)


@says_arguments
def clean(
    folder: StrPath = ".", *, stores: bool = True, runs: bool = True, keep: int = 1, yes: bool = False
) -> Cleanup:
    """What a folder of studies no longer needs; it is removed only with `yes`.

    Args:
        folder: of a study, with runs/ and store/ in it, or one above.
        stores: decoded tiles, which the next run makes again; runs: finished runs that newer ones replaced.
        keep: how many finished runs of each study stay.
        yes: remove what was found.

    Raises:
        InputError: If there is no such folder, or `keep` is below 1.
    """
    from counterstain.study.cleanup import clean as clean_folder

    return clean_folder(folder, stores=stores, runs=runs, keep=keep, yes=yes)


@says_arguments
def publish(run: StrPath, *, to: str, out: Path | str | None = None) -> Path:
    """Write a finished run to the files of TensorBoard, MLflow or Weights & Biases; nothing is sent anywhere.

    Args:
        run: the run, or its folder.
        to: "tensorboard", "mlflow" or "wandb".
        out: folder for the tracker's files; by default tracking/<to> beside runs/. It is returned.

    Raises:
        InputError: If the run is not finished, or the tracker is unknown or not installed.
    """
    from counterstain.study.publish import publish as write

    return write(run, to, out=out)
