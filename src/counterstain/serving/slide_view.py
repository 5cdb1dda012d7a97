"""Slides to look at: DeepZoom tiles through our own readers, maps of models, annotations, and the user's polygons.

Only the slide's own pyramid is read: labels and macro images, which show names, are never opened.
"""

import base64
import re
import threading
from collections import OrderedDict
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from counterstain.errors import InputError
from counterstain.files import read_json, write_json
from counterstain.serving.pictures import DECODING, image_id, jpeg
from counterstain.serving.problems import ServingError
from counterstain.slides.annotations import Region, find_annotations, read_annotations
from counterstain.slides.heatmap import draw_heatmap
from counterstain.slides.info import Slide
from counterstain.slides.reader import open_slide
from counterstain.slides.slide_files import find_slides, slide_name
from counterstain.slides.tile_files import read_tile_flags, read_tile_predictions
from counterstain.slides.tile_predictions import TilePredictions

__all__ = ["DZ_TILE_PX", "SlideShelf", "deepest"]

DZ_TILE_PX = 256
MOST_READ_PX = 4096  # side of what is read for one tile; a file whose levels lie further apart is refused
OPEN = 8
NAME = re.compile(r"[^\x00-\x1f/\\]{1,200}")


class SlideShelf:
    """The slides of some folders, opened when they are first looked at.

    Args:
        folders: of slides; annotation files lie beside them.
        maps: folders that `slides run` wrote.
        annotations: folder for polygons that are drawn here.
        requested: folder of the maps that were asked for here, see slide_queue.

    Raises:
        InputError: If a folder holds no slide, or two slides have one name.
    """

    def __init__(
        self, folders: tuple[Path, ...] = (), maps: tuple[Path, ...] = (), *, annotations: Path, requested: Path
    ) -> None:
        files = find_slides(folders) if folders else []
        self.path = {image_id(slide_name(path)): path for path in files if not path.is_symlink()}
        self.named = {folder.resolve().name: folder for folder in maps}
        self.annotations, self.requested = annotations, requested
        empty = next((folder for folder in maps if not (folder / "slide-records").is_dir()), None)
        if empty is not None:
            raise InputError(f"{empty} has no slide-records; name the --out folder of a `slides run`")
        self._open: OrderedDict[str, Slide] = OrderedDict()
        self._lock = threading.Lock()

    @property
    def maps(self) -> dict[str, Path]:
        """Name -> folder of every model's maps, those that were named first."""
        folders = (
            path for path in self.requested.glob("*") if (path / "slide-records").is_dir() and not path.is_symlink()
        )
        return {**{path.name: path for path in sorted(folders)}, **self.named}

    def names(self) -> dict[str, str]:
        """Opaque id -> name of every slide."""
        return {identity: slide_name(path) for identity, path in self.path.items()}

    def find(self, identity: str) -> Slide:
        """A slide, open.

        Raises:
            ServingError: 404 if there is none with this id, 422 if it cannot be read.
        """
        if identity not in self.path:
            raise ServingError(404, "no slide that is served has this id")
        with self._lock:
            if identity not in self._open:
                try:
                    self._open[identity] = open_slide(self.path[identity])
                except InputError as error:
                    reason = str(error).replace(str(self.path[identity]), "this slide")
                    raise ServingError(422, reason) from None
            self._open.move_to_end(identity)
            while len(self._open) > OPEN:
                self._open.popitem(last=False)
            return self._open[identity]

    def maps_of(self, identity: str) -> list[str]:
        """Names of the maps that there are of a slide."""
        table = f"model-outputs-csv/{slide_name(self.path[identity])}.csv"
        return [name for name, folder in self.maps.items() if (folder / table).is_file()]

    def data(self, identity: str) -> dict[str, object]:
        """Size, µm per pixel, the maps' names and the annotations of a slide, in level-0 px."""
        info, name = self.find(identity).info, slide_name(self.path[identity])
        width, height = info.size_px
        return {
            "id": identity, "name": name, "width": width, "height": height, "tile_px": DZ_TILE_PX,
            "mpp": info.mpp_x, "levels": deepest(width, height), "maps": self.maps_of(identity),
            "annotations": self._annotations(identity), "drawn": self._drawn(name),
        }  # fmt: skip

    def tile(self, identity: str, level: int, column: int, row: int) -> bytes:
        """One DeepZoom tile as JPEG: level `levels` is the slide's own pixels, each one below has half as many.

        Raises:
            ServingError: 404 outside of the slide, 422 if the file is damaged there.
        """
        slide = self.find(identity)
        width, height = slide.info.size_px
        scale = 2 ** (deepest(width, height) - level)
        if level < 0 or scale < 1 or column < 0 or row < 0:
            raise ServingError(404, "the slide has no such tile")
        x, y = int(column * DZ_TILE_PX * scale), int(row * DZ_TILE_PX * scale)
        if x >= width or y >= height:
            raise ServingError(404, "the slide has no such tile")
        covered = [min(DZ_TILE_PX * scale, side - at) / scale for side, at in ((width, x), (height, y))]
        factors = [max(frame.downsample_x, frame.downsample_y) for frame in slide.info.levels]
        nearest = max((number for number, factor in enumerate(factors) if factor <= scale * 1.01), default=0)
        source = slide.info.levels[nearest]
        size = [
            max(1, round(px * scale / factor))
            for px, factor in zip(covered, (source.downsample_x, source.downsample_y), strict=True)
        ]
        if max(size) > MOST_READ_PX:
            raise ServingError(422, "this slide has no small levels; convert it to a pyramidal TIFF to look at it here")
        try:
            with DECODING:
                pixels = slide.read_region(x, y, level=nearest, width_px=size[0], height_px=size[1])
        except InputError:
            raise ServingError(422, "this slide is damaged here") from None
        target = (max(1, int(np.ceil(covered[0]))), max(1, int(np.ceil(covered[1]))))
        if target != (size[0], size[1]):
            pixels = np.asarray(cv2.resize(pixels, target, interpolation=cv2.INTER_AREA), np.uint8)
        return jpeg(pixels, 88)

    def heat(self, identity: str, run: str) -> dict[str, object]:
        """A model's map: values as base64 of uint8 (0: not read; v: a probability of (v - 1) / 254), and where it lies.

        flags: abstained and unfamiliar, where the model knows them: 2 where tiles are, 1 where they are not.

        Raises:
            ServingError: 404 if there is none.
        """
        folder, name = self.maps.get(run), slide_name(self.path.get(identity, Path("none")))
        table = None if folder is None else folder / "model-outputs-csv" / f"{name}.csv"
        if folder is None or table is None or not table.is_file():
            raise ServingError(404, "there is no map of this slide of this name")
        return _heat(table, folder / "slide-records" / f"{name}.json", table.stat().st_mtime_ns)

    def draw(self, identity: str, label: str, points: list[tuple[float, float]]) -> dict[str, object]:
        """Add a polygon of level-0 points to the slide's drawn annotations, as GeoJSON that `slides tiles` reads.

        Raises:
            ServingError: 422 if it is no polygon within the slide.
        """
        from shapely.geometry import Polygon

        info, name = self.find(identity).info, slide_name(self.path[identity])
        width, height = info.size_px
        if not NAME.fullmatch(label):
            raise ServingError(422, "a class of 1 to 200 characters is needed")
        inside = all(0 <= x <= width and 0 <= y <= height for x, y in points)
        if len(points) < 3 or not inside or not Polygon(points).is_valid:
            raise ServingError(
                422, "three or more points within the slide, whose outline does not cross itself, are needed"
            )
        left, top = info.bounds[:2] if info.bounds else (0, 0)  # as QuPath counts
        ring = [[round(x - left, 1), round(y - top, 1)] for x, y in (*points, points[0])]
        path = self.annotations / f"{name}.geojson"
        record: dict[str, Any] = read_json(path) if path.is_file() else {"type": "FeatureCollection", "features": []}
        record["features"].append(
            {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]},
             "properties": {"objectType": "annotation", "classification": {"name": label}}}
        )  # fmt: skip
        self.annotations.mkdir(exist_ok=True)
        write_json(path, record)
        return {"features": len(record["features"])}

    def _annotations(self, identity: str) -> list[dict[str, Any]]:
        path = self.path[identity]
        try:
            file = find_annotations(path.parent, path)
            return [] if file is None else _outlines(read_annotations(file, bounds=self.find(identity).info.bounds))
        except InputError:
            return []

    def _drawn(self, name: str) -> int:
        path = self.annotations / f"{name}.geojson"
        return len(read_json(path)["features"]) if path.is_file() else 0


def deepest(width: int, height: int) -> int:
    """Number of DeepZoom's last level: that whose size is the slide's.

    >>> deepest(100_000, 80_000)
    17
    """
    return int(np.ceil(np.log2(max(width, height, 1))))


@lru_cache(16)
def _heat(path: Path, record: Path, _: int) -> dict[str, Any]:
    slide_record = read_json(record)
    table = read_tile_predictions(path, extent=slide_record["extent"], mpp=slide_record["mpp"])
    heat = draw_heatmap(table)
    planes, height, width = heat.value.shape
    return {
        "names": [name.removeprefix("prob_") for name in heat.names], "width": width, "height": height,
        "x": heat.corner[0], "y": heat.corner[1], "step": heat.step[0],
        "values": [_packed(heat.value[plane]) for plane in range(planes)],
        "flags": {name: _packed(_flag_map(table, flag)) for name, flag in read_tile_flags(path).items()},
    }  # fmt: skip


def _flag_map(table: TilePredictions, flag: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """(H, W) on the map's pixels: 2 where at least half of the tiles there have a flag, 1 where fewer, 0: not read."""
    share = flag.astype(np.float64)
    value = draw_heatmap(replace(table, classes=("no", "yes"), prob=np.stack([1 - share, share], axis=1))).value[0]
    return np.where(value == 0, 0, np.where(value >= 128, 2, 1)).astype(np.uint8)


def _packed(values: NDArray[np.uint8]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode()


def _outlines(regions: tuple[Region, ...]) -> list[dict[str, Any]]:
    """Class and rings of each region, level-0 px to a tenth."""
    out = []
    for region in regions:
        pieces = getattr(region.shape, "geoms", [region.shape])
        rings = [ring for piece in pieces for ring in (piece.exterior, *piece.interiors)]
        points = [[[round(x, 1), round(y, 1)] for x, y, *_ in ring.coords] for ring in rings]
        out.append({"name": region.name, "rings": points})
    return out
