"""What every page is made with: its templates, and an environment that escapes whatever a user's files are called."""

import re
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

__all__ = ["environment", "template"]


def template(name: str) -> str:
    """The text of a file in templates/."""
    return resources.files("counterstain.reports").joinpath("templates", name).read_text(encoding="utf-8")


def environment() -> Environment:
    """Escapes everything that is not Markup, and refuses a name that a template uses and nobody gave."""
    made = Environment(
        loader=FunctionLoader(template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {"soft": _soft, "css_string": _css_string}
    return made


def _soft(text: str) -> Markup:
    """A name that may be broken after its _ . / - (and nowhere else, where there is room)."""
    return Markup("<wbr>").join(escape(piece) for piece in re.split(r"(?<=[_./-])(?=\w)", text))


def _css_string(text: str) -> Markup:
    """A text as a CSS string, for the head of printed pages: what is no letter, digit or space stands as its number."""
    return Markup('"{}"').format(Markup(re.sub(r"[^A-Za-z0-9 ]", lambda found: f"\\{ord(found[0]):06x} ", text)))
