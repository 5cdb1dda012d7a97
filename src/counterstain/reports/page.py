"""What every page is made with: its templates, and an environment that escapes whatever a user's files are called."""

import re
from collections.abc import Sequence
from importlib import resources

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup, escape

from counterstain.evaluation.format import METRIC_NAMES, clean

__all__ = ["environment", "template", "typeset"]


def template(name: str) -> str:
    """The text of a file in templates/."""
    return resources.files("counterstain.reports").joinpath("templates", name).read_text(encoding="utf-8")


def environment() -> Environment:
    """Escapes everything that is not Markup, and refuses a name that a template uses and nobody gave."""
    jinja = Environment(
        loader=FunctionLoader(template),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    jinja.filters |= {"soft": _soft, "css_string": _css_string}
    return jinja


def _soft(text: str) -> Markup:
    """A name that may be broken after its _ . / - (and nowhere else, where there is room)."""
    return Markup("<wbr>").join(escape(piece) for piece in re.split(r"(?<=[_./-])(?=\w)(?<!\d\.(?=\d))", text))


def _css_string(text: str) -> Markup:
    """A text as a CSS string, for the head of printed pages: what is no letter, digit or space stands as its number."""
    return Markup('"{}"').format(Markup(re.sub(r"[^A-Za-z0-9 ]", lambda match: f"\\{ord(match[0]):06x} ", text)))


def typeset(text: str, arms: Sequence[str]) -> Markup:
    """A sentence that another room wrote, its names and intervals kept whole, with true minus signs."""
    names = "|".join(re.escape(clean(arm)) for arm in sorted(arms, key=len, reverse=True)) or r"(?!)"
    pieces = re.split(rf"(\[[^\[\]]{{1,30}}\]|\b(?:{names})\b)", clean(text))
    out = Markup("")
    for index, piece in enumerate(pieces):
        if index % 2:
            signs = piece.replace("-", "−") if piece.startswith("[") else piece
            out += Markup('<span class="whole">{}</span>').format(signs) if len(piece) <= 30 else signs
        else:
            plain = re.sub(r"(?<![\w-])-(?=\d)", "−", piece)
            plain = re.sub(r"(?<=\d)\s?%", "\u00a0%", plain)
            out += re.sub(r"\b(auroc|auprc|mcc|f1|balanced_accuracy)\b", lambda match: METRIC_NAMES[match[0]], plain)
    return out
