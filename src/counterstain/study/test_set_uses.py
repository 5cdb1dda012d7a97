"""The ledger of a study: where its looks at the test part are written down, and what it says of them."""

from pathlib import Path

from counterstain.errors import InputError
from counterstain.evaluation.test_set_log import LoggedUse, count_uses, read_uses, record_use, uses_in_words
from counterstain.files import hash_file, hash_json, write_json
from counterstain.progress import Progress
from counterstain.run_folder import record_path
from counterstain.study.prepare import PreparedStudy
from counterstain.study.study_config import Study

__all__ = ["ledger_folder", "write_test_set_uses"]


def ledger_folder(study: Study, base: Path) -> Path:
    """The folder in which looks at the study's cohort are noted: the one it names, or the cohort's own.

    Args:
        study: its `ledger` and `cohort.path`.
        base: the folder that both count from.

    Raises:
        InputError: If the one it names is a file.
    """
    folder = base / study.ledger if study.ledger is not None else base / study.cohort.path
    if study.ledger is not None and not folder.is_dir():
        problem = "a file" if folder.exists() else "which does not exist"
        raise InputError(f"ledger is {folder}, {problem}; name an existing folder, or create it")
    return folder.parent if folder.is_file() else folder


def write_test_set_uses(run: Path, prepared: PreparedStudy, folder: Path, talk: Progress) -> None:
    """Note this run's look at the test part in the ledger; write looks.json: how many there have been.

    One line per arm, and one use for all arms of a run; what is done again to the same bytes shows nothing new. A
    ledger that cannot be written, such as one beside images on a read-only disk, is told and does not stop the run.
    """
    study = prepared.study
    data = test_hash(prepared)
    images = sum(name.startswith("test") for part in prepared.split.parts for name in part.assignment)
    problem = ""
    try:
        for arm in study.arms:
            tables = sorted((run / "predictions" / arm).glob("*.csv"))
            look = LoggedUse(
                study=study.name,
                run=run.name,
                model=arm,
                part="test",
                data_hash=data,
                images=images,
                purpose="what the old protocol would claim" if study.stamp.startswith("LEAK") else "report",
                key=hash_json({"study": study.name, "model": arm, "tables": [hash_file(path) for path in tables]}),
            )
            record_use(folder, look)
        looks = read_uses(folder)
    except OSError as error:
        problem = f"the ledger in {folder} cannot be written ({error.strerror}); name another folder with `ledger`"
        looks = ()
    lines = [problem] if problem else list(uses_in_words(looks, data))
    looks_here = [look for look in looks if look.data_hash == data]
    write_json(
        record_path(run, "looks.json"),
        {"count": count_uses(looks_here, data), "words": lines, "looks": [look.to_record() for look in looks_here]},
    )
    for line in lines:
        talk.say(f"ledger: {line}")


def test_hash(prepared: PreparedStudy) -> str:
    """The hash of the images of all test parts: the same for every study that reports on the same images."""
    store = prepared.material.store
    tested = {
        image
        for part in prepared.split.parts
        for image, name in zip(prepared.split.image, part.assignment, strict=True)
        if name.startswith("test")
    }
    content = dict(zip(store.image, store.content, strict=True))
    return hash_json({"test": sorted(content[image] for image in tested)})
