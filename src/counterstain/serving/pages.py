"""The pages: Jinja templates that escape everything, each with its data as JSON that a script of its own draws."""

import json
from collections.abc import Mapping
from functools import lru_cache
from importlib import resources

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

__all__ = ["REPORT_POLICY", "RUN_VIEWS", "render", "script_json", "static_file", "static_files"]

# The views of one run, in the order of the menu: name in the address -> name in the menu.
RUN_VIEWS = {
    "cohort": "Cohort", "audit": "Audit", "errors": "Errors", "live": "Training", "predict": "Predict",
}  # fmt: skip
# A report is one page that needs nothing else; it may not run anything here.
REPORT_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"
TYPES = {".css": "text/css", ".js": "text/javascript", ".txt": "text/plain", ".svg": "image/svg+xml"}


def render(
    view: str, *, title: str, data: Mapping[str, object] | None = None, run: str = "", links: "Links", **words: object
) -> str:
    """A page as HTML.

    Args:
        view: name of the template, which is also that of its script.
        title: of the window.
        data: what the script draws; None where it fetches it.
        run: name of the run, "" for pages of all runs.
        links: how addresses are made, for the server or for files on a disk.
        words: what else the template uses.
    """
    environment = _environment()
    return environment.get_template(f"{view}.html").render(
        view=view, title=title, run=run, links=links, run_views=RUN_VIEWS, words=words,
        data=script_json(data if data is not None else {}),
    )  # fmt: skip


class Links:
    """Addresses within the server."""

    saved = False
    slides = True
    static = "/static/"

    def view(self, view: str, run: str = "") -> str:
        """Address of a view, for one run or for all."""
        return f"/runs/{run}/{view}" if run else f"/{'' if view == 'studies' else view}"

    def slide(self, identity: str) -> str:
        """Address of a slide's view."""
        return f"/slides/{identity}"


class SavedLinks(Links):
    """Addresses between files in one folder: pages at the top, what belongs to a run below it."""

    saved = True
    static = "static/"

    def __init__(self, *, slides: bool = False) -> None:
        self.slides = slides

    def view(self, view: str, run: str = "") -> str:
        """Address of a view, for one run or for all."""
        return f"{run}-{view}.html" if run else f"{'index' if view == 'studies' else view}.html"

    def slide(self, identity: str) -> str:
        """Address of a slide's view."""
        return f"slide-{identity}.html"


def script_json(data: object) -> Markup:
    """JSON inside a script element: no text in it can end the element.

    >>> script_json({"name": "</script><b>"})
    Markup('{"name": "\\\\u003c/script\\\\u003e\\\\u003cb\\\\u003e"}')
    """
    content = json.dumps(data, ensure_ascii=False, allow_nan=False)
    for sign in "<>&\u2028\u2029":
        content = content.replace(sign, f"\\u{ord(sign):04x}")
    return Markup(content)


@lru_cache(1)
def static_files() -> dict[str, bytes]:
    """Every style sheet, script and licence of the package."""
    folder = resources.files("counterstain.serving").joinpath("static")
    files = (*folder.iterdir(), *folder.joinpath("vendor").iterdir())
    return {path.name: path.read_bytes() for path in files if path.is_file()}


def static_file(name: str) -> tuple[bytes, str] | None:
    """A style sheet or script of the package and its type; None where there is none of this name."""
    content, kind = static_files().get(name), TYPES.get(f".{name.rpartition('.')[2]}")
    return None if content is None or kind is None else (content, f"{kind}; charset=utf-8")


@lru_cache(1)
def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("counterstain.serving"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
