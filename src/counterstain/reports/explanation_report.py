"""The page of an explanation: maps by their side the checks of them, made from its folder's files alone."""

import base64
import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image

from counterstain.evaluation.format import capital, clean, levelled, listed, number, plural
from counterstain.files import read_record, write_bytes, write_with
from counterstain.reports.alarms import explanation_alarm
from counterstain.reports.explanation_checks import checks_of, summary
from counterstain.reports.explanation_embedding import draw_embedding, read_points
from counterstain.reports.explanation_figures import colour_scale, curves_figure, jpeg, overlay, read_tile
from counterstain.reports.illustration import Illustration, jpeg_uri, keep_figure
from counterstain.reports.page import environment, template

__all__ = ["PAGE", "RECORD", "SCHEMA", "write_page"]

SCHEMA = "counterstain.explanation/1"
RECORD = "explanation.json"
PAGE = "explanation.html"

METHODS = {
    "gradcam": "Grad-CAM: the channels of one layer, each weighted by its mean gradient (Selvaraju et al. 2017).",
    "gradcam++": "Grad-CAM++: the channels of one layer, weighted by their rising gradients place by place "
    "(Chattopadhay et al. 2018).",
    "hirescam": "HiResCAM: each place's own gradient times its activation, over the channels of one layer "
    "(Draelos and Carin 2020).",
    "integrated-gradients": "Integrated gradients along the way from the blurred tile to the tile, summed over cells "
    "(Sundararajan et al. 2017).",
}


def write_page(folder: Path) -> Path:
    """Write overlays/, figures/curves.* and explanation.html of an explanation; the same files give the same bytes.

    Only the folder's own files are read. The page needs no other file and no network; its one script colours the
    embedding map, and without it the map is coloured by class.

    Args:
        folder: with explanation.json, and tiles/ and embedding.csv where maps are shown.

    Raises:
        InputError: If a file is missing or is not what it should be.
    """
    record = read_record(folder / RECORD, SCHEMA)
    reason = record["ability"]["reason"]
    maps_shown: dict[str, Any] = {} if reason else {**_maps(folder, record), **_script()}
    page = environment().get_template("explanation.html").render(
        name=f"Where the score of {_model(record)} is sensitive",
        stamp=clean(record["stamp"]),
        wording=clean(record["wording"]),
        alarm=explanation_alarm(record),
        style=Markup(template("report.css") + template("explanation.css")),
        facts=_facts(record),
        reason=clean(reason),
        unit=record["ability"]["unit"],
        words=_words(record),
        version=clean(record["counterstain"]),
        record_name=RECORD,
        **maps_shown,
    )  # fmt: skip
    write_bytes(folder / PAGE, page)
    return folder / PAGE


def _script() -> dict[str, Markup]:
    """The script that colours the embedding map, and the hash by which the page's policy lets it run."""
    script = template("explanation.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return {"script": Markup(script), "script_hash": Markup(f"sha256-{digest}")}


def _model(record: Mapping[str, Any]) -> str:
    """The model by run, arm, seed and fold; a record that doesn't know them names the network."""
    if title := record["source"].get("title"):
        return clean(title)
    name = clean(record["network"])
    return name if "/" in name else f"the {name} network"


def _facts(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    ability, source = record["ability"], record["source"]
    tiles = plural(record["images"], "tile")
    if record["patients"] is not None:
        tiles += f" of {plural(record['patients'], 'patient')}"
    part = clean(source.get("part") or "")
    auroc = f"{number(ability['auroc'])}{levelled(ability['low'], ability['high'])}"
    cells = f"{record['cells']} × {record['cells']} cells"
    return [
        ("Method", clean(record["settings"]["method"])),
        ("Map", cells),
        ("Tiles", f"{tiles}, part {part}" if part else tiles),
        ("AUROC", auroc),
    ]


def _maps(folder: Path, record: Mapping[str, Any]) -> dict[str, Any]:
    """What the page shows where maps may be shown."""
    validity = record["validity"]
    tried = plural(validity["tiles"], "tile")
    if record["patients"] is not None:
        tried += f" of {plural(validity['patients'], 'patient')}"
    drawing = draw_embedding(read_points(folder / "embedding.csv"), record["classes"])
    return {
        "summary": summary(validity),
        "tried": tried,
        "checks": checks_of(validity),
        "curves": _curves(folder, record),
        "scale": jpeg_uri(jpeg(colour_scale())),
        "gallery": [_row(folder, row) for row in record["gallery"]],
        "embedding": {
            "svg": drawing.svg,
            "legend": drawing.legend,
            "data": drawing.data,
            "words": _embedding_words(record["embedding"]),
            "note": "A point's shape is its label; a dark rim: the model calls it something else. Point at one to see "
            "its image; those of its group stay, the others fade. The table is embedding.csv.",
        },
        "colourings": drawing.colourings,
    }


def _curves(folder: Path, record: Mapping[str, Any]) -> Illustration:
    curves = record["validity"]["curves"]
    title = "What the marked cells are worth to the score"
    draw = partial(curves_figure, curves["share"], curves["kinds"], title=title, stamp=record["stamp"])
    areas = listed(
        f"{kind['kind']}: area {number(kind['area']['map'], 2)} in the map's order and "
        f"{number(kind['area']['random'], 2)} in random order"
        for kind in curves["kinds"]
    )
    caption = (
        "Mean over tiles of the probability of the class that the map is of. A good map's line rises early when cells "
        "are put back into the blurred tile, and falls early when they are blurred away."
    )
    alt = f"{title}. {capital(areas)}."
    return keep_figure(draw, folder / "figures" / "curves", alt=alt, caption=caption)


def _row(folder: Path, row: Mapping[str, Any]) -> dict[str, Any]:
    return {"title": capital(clean(row["section"])), "cards": [_card(folder, card) for card in row["tiles"]]}


def _card(folder: Path, card: Mapping[str, Any]) -> dict[str, Any]:
    """One tile of the gallery; its overlay is written, too."""
    name = Path(card["file"]).name
    tile = read_tile(folder / "tiles" / name)
    over = overlay(tile, np.asarray(card["map"], dtype=np.float64))
    write_with(folder / "overlays" / name, lambda path: Image.fromarray(over).save(path, "PNG"))
    return {
        "tile": jpeg_uri(jpeg(tile)),
        "overlay": jpeg_uri(jpeg(over)),
        "image": clean(card["image"]),
        "patient": clean(card["patient"]),
        "site": clean(card["site"]),
        "label": clean(card["label"]),
        "predicted": clean(card["predicted"]),
        "probability": "> 0.999" if card["probability"] > 0.9995 else number(card["probability"]),
        "wrong": card["label"] != card["predicted"],
    }


def _embedding_words(embedding: Mapping[str, Any]) -> str:
    tiles = f"{plural(embedding['tiles'], 'tile')} by what the network's last layer is given"
    if embedding["method"] == "pca":
        first, second = (100 * share for share in embedding["variance"])
        return (
            f"{tiles}, {embedding['features']:,} numbers each, on their first two principal components, which hold "
            f"{first:.0f}\u00a0% and {second:.0f}\u00a0% of the variance. Where tiles lie together by patient or by "
            "site rather than by class, the network has learnt to tell patients or scanners apart."
        )
    return (
        f"{tiles}, {embedding['features']:,} numbers each, in two dimensions by UMAP: neighbours are mostly kept, but "
        "distances, sizes of groups and the gaps between them are ignored."
    )


def _words(record: Mapping[str, Any]) -> list[tuple[str, str]]:
    method = record["settings"]["method"]
    layer = record["layer"]
    method_words = METHODS.get(method, clean(method))
    rows = [("Map", method_words)]
    if layer is not None:
        rows.append(
            ("Layer", f"{clean(layer['name'])}, {layer['side']} × {layer['side']} cells, chosen by itself: the last "
             "one that still knows places. A cell draws on more of the tile than it covers.")
        )  # fmt: skip
    rows += [
        ("Score", "The log odds of the class that the model calls the tile, against all other classes. Only what "
         "raises it is shown."),
        ("Blurred tile", f"A Gaussian blur of {record['blur_sigma_px']:.0f} px standard deviation: colour and large "
         "shapes stay, so that it still looks like stained tissue."),
        ("Random weights", "Maps of the same network with randomised weights must differ (Adebayo et al. 2018)."),
        ("Pointing game", "A quarter of one class's tile in a tile of another: does the map's highest cell lie in it? "
         "In the control the quarter is of the same class as the rest, so that seams and stain cannot win it. On real "
         "tiles the label is the whole tile's: a quarter may hold nothing of what the tile was labelled for."),
        ("Seed", f"{record['settings']['seed']}"),
    ]  # fmt: skip
    source = record["source"]
    for title, key in (("Bundle", "bundle"), ("Bundle's hash", "bundle_hash"), ("Images", "cohort")):
        if source.get(key):
            rows.append((title, clean(source[key])))
    rows.append(("Hash of the images", clean(source["data"])))
    return rows
