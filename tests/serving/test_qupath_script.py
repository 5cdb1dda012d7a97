"""The QuPath script asks a running server and paints what it says.

QuPath itself is not here: stand-ins with the names and arguments of its classes run the script in Groovy, over a slide
of two tiles.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from small_browser import free_port, running
from small_server import small_model
from small_studies import texture

from counterstain.serving.app import make_app, served_of
from counterstain.serving.security import Access, allowed_hosts
from counterstain.serving.server import ServeOptions
from counterstain.study.model import load_model

SCRIPT = Path(__file__).parent.parent.parent / "examples" / "qupath" / "ask_counterstain.groovy"
STAND_INS = {
    "io/GsonTools": """class GsonTools {
    static getInstance() { new GsonTools() }
    String toJson(o) { groovy.json.JsonOutput.toJson(o) }
    def fromJson(String text, Class kind) { new groovy.json.JsonSlurper().parseText(text) } }""",
    "objects/classes/PathClass": """class PathClass { String name
    static PathClass fromString(String name) { new PathClass(name: name) } }""",
    "objects/PathObjects": """class PathObjects {
    static createTileObject(roi) { new Thing(roi: roi, tile: true) } }
    class Thing { def roi; boolean tile; def pathClass; def children = []; def measured = [:]
    boolean isAnnotation() { !tile }
    boolean isTile() { tile }
    boolean hasROI() { true }
    def getROI() { roi }
    def setPathClass(c) { pathClass = c }
    def getMeasurementList() { [put: { k, v -> measured[k] = v }, close: {}] as Measured }
    def getChildObjects() { children }
    void removeChildObjects(c) { children.removeAll(c) }
    void addChildObjects(c) { children.addAll(c) } }
    interface Measured { void put(String k, double v); void close() }""",
    "regions/ImagePlane": "class ImagePlane { static getPlane(roi) { new ImagePlane() } }",
    "regions/RegionRequest": """class RegionRequest { double downsample; int x, y, w, h
    static createInstance(String path, double d, int x, int y, int w, int h) {
        new RegionRequest(downsample: d, x: x, y: y, w: w, h: h) } }""",
    "roi/ROIs": """class ROIs { double x, y, w, h
    static createRectangleROI(double x, double y, double w, double h, plane) { new ROIs(x: x, y: y, w: w, h: h) }
    double getBoundsX() { x }
    double getBoundsY() { y }
    double getBoundsWidth() { w }
    double getBoundsHeight() { h }
    boolean isArea() { true }
    boolean contains(double px, double py) { px >= x && px < x + w && py >= y && py < y + h } }""",
    "scripting/QP": """class QP {
    static image = javax.imageio.ImageIO.read(new File(System.getenv('SLIDE')))
    static chosen = [new qupath.lib.objects.Thing(roi: qupath.lib.roi.ROIs.createRectangleROI(0, 0, 256, 128, null))]
    static getCurrentServer() { new QP() }
    static getSelectedObjects() { chosen }
    static fireHierarchyUpdate() {
        def rows = chosen[0].children.collect { [x: it.roi.x, called: it.pathClass.name, measured: it.measured] }
        new File(System.getenv('ANSWER')).text = groovy.json.JsonOutput.toJson(rows) }
    def getPixelCalibration() { this }
    def getAveragedPixelSizeMicrons() { 0.5d }
    int getWidth() { image.width }
    int getHeight() { image.height }
    String getPath() { 'slide' }
    def readRegion(r) { image.getSubimage(r.x, r.y, r.w, r.h) } }""",
}


@pytest.mark.slow
def test_the_selected_annotation_gets_its_tiles(tmp_path: Path) -> None:
    groovy = shutil.which("groovy")
    if groovy is None:
        pytest.skip("no Groovy on this machine: apt-get install groovy")
    home = small_model(tmp_path)
    tiles = [texture(0), texture(1)]
    Image.fromarray(np.concatenate(tiles, axis=1)).save(tmp_path / "slide.png")
    for name, text in STAND_INS.items():
        path = tmp_path / "qupath" / "lib" / f"{name}.groovy"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"package qupath.lib.{name.rpartition('/')[0].replace('/', '.')}\n{text}\n")
    text = SCRIPT.read_text(encoding="utf-8").replace("def assumeMpp = null", "def assumeMpp = 0.5")
    (tmp_path / "script.groovy").write_text(text, encoding="utf-8")
    listening = free_port()
    port = listening.getsockname()[1]
    access = Access(hosts=allowed_hosts("127.0.0.1", port))
    environment = os.environ | {
        "COUNTERSTAIN_URL": f"http://127.0.0.1:{port}", "COUNTERSTAIN_TOKEN": access.token,
        "SLIDE": str(tmp_path / "slide.png"), "ANSWER": str(tmp_path / "answer.json"),
    }  # fmt: skip
    java = shutil.which("java")
    if java is not None:  # Groovy looks for it in one place of Debian's alone, which need not be there
        environment.setdefault("JAVA_HOME", str(Path(java).resolve().parent.parent))
    with running(make_app(served_of(home / "runs", ServeOptions(model=home / "model")), access), listening):
        command = [groovy, "-c", "UTF-8", "-cp", str(tmp_path), "script.groovy"]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    painted = json.loads((tmp_path / "answer.json").read_text())
    expected = load_model(home / "model").predict(np.stack(tiles))
    assert [row["x"] for row in painted] == [0, 128]
    assert [row["called"] for row in painted] == list(expected.calls)
    for row, prob in zip(painted, expected.prob, strict=True):
        assert row["measured"]["prob_b"] == pytest.approx(prob[1], abs=1e-6)
