"""Which transformations training images may get, how strong and how often; each is off by default unless stated."""

from dataclasses import dataclass

from counterstain.errors import InputError, suggest
from counterstain.records import short_repr

__all__ = ["TRANSFORMATIONS", "Augmentation"]

TRANSFORMATIONS = ("flip", "equalise", "rotation", "translation", "shear", "quarter_turn", "colour")


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may happen to a training tile. A range of 0, "none" or a probability of 0 switches a transformation off.

    mode:                    "on_the_fly": new draws each epoch, all transformations at once;
                             "expand": the originals plus one image per transformation, drawn once; "none"
    flip:                    "none", "horizontal" (left-right), "vertical" (up-down) or "both"
    flip_probability:        of each direction by itself
    quarter_turns:           turn by 0, 90, 180 or 270°, each as likely; exact, for square tiles
    equalise:                histogram equalisation: "luminance", "tissue" (luminance of the tissue alone, glass left as
                             it is), "channels" (each alone; changes the colours) or "none"
    equalise_probability:    low by default: it turns the noise of empty glass into texture
    rotation_deg:            largest angle, degrees in [0, 180]; drawn evenly from both directions
    translation:             largest shift as a share of the side, in [0, 0.5]; drawn for x and y, in whole pixels
    shear_deg:               largest angle of the upright edges, degrees in [0, 45]
    brightness, contrast, saturation: largest change of the factor, in [0, 1]: 0.2 draws evenly from 0.8 to 1.2
    …_probability:           share of the tiles on which it is used (on the fly); colour_probability is of all three

    Raises:
        InputError: If a value is out of its range.
    """

    mode: str = "on_the_fly"
    flip: str = "both"
    flip_probability: float = 0.5
    quarter_turns: bool = False
    equalise: str = "luminance"
    equalise_probability: float = 0.1
    rotation_deg: float = 20.0
    rotation_probability: float = 1.0
    translation: float = 0.1
    translation_probability: float = 1.0
    shear_deg: float = 10.0
    shear_probability: float = 1.0
    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    colour_probability: float = 1.0

    def __repr__(self) -> str:
        return short_repr(self)

    def __post_init__(self) -> None:
        _check_word("mode", self.mode, ("on_the_fly", "expand", "none"))
        _check_word("flip", self.flip, ("none", "horizontal", "vertical", "both"))
        _check_word("equalise", self.equalise, ("none", "luminance", "tissue", "channels"))
        _check_range("rotation_deg", self.rotation_deg, 180)
        _check_range("translation", self.translation, 0.5)
        _check_range("shear_deg", self.shear_deg, 45)
        for name in ("brightness", "contrast", "saturation"):
            _check_range(name, getattr(self, name), 1)
        for name in ("flip", "equalise", "rotation", "translation", "shear", "colour"):
            _check_range(f"{name}_probability", getattr(self, f"{name}_probability"), 1)
        if not isinstance(self.quarter_turns, bool):
            raise InputError(f"augmentation quarter_turns is {self.quarter_turns!r}; it must be true or false")
        if self.mode == "expand" and not self.transformations():
            raise InputError(
                "augmentation mode 'expand' has no transformation switched on; switch one on, or use mode 'none'"
            )

    def transformations(self) -> tuple[str, ...]:
        """The names of the transformations that are switched on, in the order of `expand_batch`; () for mode "none"."""
        if self.mode == "none":
            return ()
        on = {
            "flip": self.flip != "none" and self.flip_probability > 0,
            "equalise": self.equalise != "none" and self.equalise_probability > 0,
            "rotation": self.rotation_deg > 0 and self.rotation_probability > 0,
            "translation": self.translation > 0 and self.translation_probability > 0,
            "shear": self.shear_deg > 0 and self.shear_probability > 0,
            "quarter_turn": self.quarter_turns,
            "colour": max(self.brightness, self.contrast, self.saturation) > 0 and self.colour_probability > 0,
        }
        return tuple(name for name in TRANSFORMATIONS if on[name])


def _check_word(name: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InputError(f"augmentation {name} is {value!r}{suggest(str(value), known)}")


def _check_range(name: str, value: float, high: float) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= high:
        raise InputError(f"augmentation {name} is {value!r}; it must be a number from 0 to {high:g}")
