"""The example for Snakemake reads slides one process each, to the bytes of one run over all of them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cohort_runs import contents, make_bundle, write_slide

from counterstain.slides.infer_cohort import run_slides
from counterstain.slides.infer_slide import InferenceOptions

EXAMPLE = Path(__file__).parents[2] / "examples" / "many_slides" / "Snakefile"


@pytest.mark.slow
def test_snakemake_reads_three_slides(tmp_path: Path) -> None:
    snakemake = shutil.which("snakemake")
    if snakemake is None:
        pytest.skip("snakemake is not installed; pip install snakemake")
    make_bundle(tmp_path / "model")
    (tmp_path / "slides").mkdir()
    for number in range(2):
        write_slide(tmp_path / "slides" / f"S{number}.tif", number)
    (tmp_path / "slides" / "damaged.tif").write_bytes((tmp_path / "slides" / "S0.tif").read_bytes()[:3000])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [snakemake, "--snakefile", EXAMPLE, "--cores", "2", "--config", "model=model", "slides=slides", "out=maps"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PATH": path}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shutil.rmtree(tmp_path / "maps" / "done")
    options = InferenceOptions(runtime="torch", threads=1)
    run_slides(tmp_path / "model", [tmp_path / "slides"], tmp_path / "one", options)
    found, expected = contents(tmp_path / "maps"), contents(tmp_path / "one")
    # The table of failures names the file as it was given, here without its folder's path.
    assert "damaged" in found.pop("failures.csv").decode()
    assert "damaged" in expected.pop("failures.csv").decode()
    assert found == expected
