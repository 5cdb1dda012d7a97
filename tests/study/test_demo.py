"""The demo in small: the study, the old protocol beside it, and a second call that does nothing anew."""

from pathlib import Path

import pytest

from counterstain.files import read_json
from counterstain.progress import Progress
from counterstain.study import demo
from counterstain.study.study_config import read_study


@pytest.mark.slow
def test_the_demo_has_the_old_protocol_beside_its_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo, "DEMO_EPOCHS", 1)
    monkeypatch.setattr(demo, "OLD_EPOCHS", 1)
    monkeypatch.setattr(demo, "slides_can_be_read", lambda: False)
    lines: list[str] = []
    run = demo.run_demo(tmp_path, seeds=1, patients=10, talk=Progress(say=lines.append))
    assert read_study(tmp_path / "study.yaml").split.test == demo.DEMO_TEST
    counts = read_json(run / "records" / "split.json")["parts"][0]["counts"]
    assert counts["test"]["patients"] == pytest.approx(10 * demo.DEMO_TEST, abs=1)
    words = read_json(run / "records" / "old_protocol.json")["words"]
    assert words in lines and words.startswith("The old protocol (augment, then split images at random) would claim ")
    assert (tmp_path / "old-protocol.yaml").is_file() and (tmp_path / "runs" / "old-protocol" / "report.html").is_file()
    assert demo.run_demo(tmp_path, seeds=1, patients=10, talk=Progress(say=lines.append)) == run
    assert lines[-1] == f"{run} is finished; nothing to do"
