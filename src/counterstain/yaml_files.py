"""YAML read strictly: no repeated key, no alias, no deep nesting, no large file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from counterstain.errors import InputError
from counterstain.files import read_text

__all__ = ["parse_yaml", "read_yaml"]

LARGEST_YAML = 1_000_000  # bytes
DEEPEST_YAML = 20


def read_yaml(path: Path, *, what: str, largest: int = LARGEST_YAML) -> dict[str, Any]:
    """The settings in a YAML file.

    Args:
        path: of the file.
        what: what it should be, for the message: "a study".
        largest: bytes that it may have.

    Raises:
        InputError: If it is missing, too large, not UTF-8, or not such YAML as parse_yaml takes; or holds no settings.
    """
    record = parse_yaml(read_text(path, what=what, largest=largest), str(path))
    if not isinstance(record, dict):
        content = "nothing" if record is None else f"a {type(record).__name__}"
        raise InputError(f"{path} holds {content}, not settings; name {what}")
    return record


def parse_yaml(text: str, source: str) -> Any:
    """What a YAML text says, without aliases (which can blow up), great depth, or a key that stands twice.

    >>> parse_yaml("epochs: 5", "study.yaml")
    {'epochs': 5}

    Args:
        text: of one document.
        source: where it is from, for the message.

    Raises:
        InputError: In one line, for whatever of this it is not.
    """
    import yaml  # here, for it would be imported by every command

    try:
        _refuse_aliases_and_depth(yaml.parse(text, Loader=yaml.SafeLoader), source)
        _refuse_repeated_keys(yaml.compose(text, Loader=yaml.SafeLoader), source)
        return yaml.safe_load(text)
    except InputError:
        raise
    except yaml.YAMLError as error:
        raise InputError(f"{source} is not YAML: {' '.join(str(error).split())}") from None
    except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        # What its constructors make of a date that is none, or of a tag that does not suit its value.
        raise InputError(f"{source} has a value that YAML cannot read: {' '.join(str(error).split())}") from None


def _refuse_aliases_and_depth(events: Iterable[Any], source: str) -> None:
    """Both can make a small file take for ever; seen event by event, neither costs anything."""
    depth = 0
    for event in events:
        kind = type(event).__name__
        if kind == "AliasEvent":
            raise InputError(f"{source} uses YAML aliases (*name); write the values out")
        depth += kind.endswith("StartEvent") and kind[:4] in ("Mapp", "Sequ")
        depth -= kind.endswith("EndEvent") and kind[:4] in ("Mapp", "Sequ")
        if depth > DEEPEST_YAML:
            raise InputError(f"{source} is nested deeper than {DEEPEST_YAML} levels")


def _refuse_repeated_keys(node: Any, source: str) -> None:
    """A mapping's node holds pairs of nodes, a list's holds nodes, and that of anything else a text."""
    for item in node.value if node is not None and not isinstance(node.value, str) else ():
        if not isinstance(item, tuple):
            _refuse_repeated_keys(item, source)
    seen = set()
    for key, value in [item for item in getattr(node, "value", ()) if isinstance(item, tuple)]:
        line = f"{source} line {key.start_mark.line + 1}"
        if not isinstance(key.value, str):
            raise InputError(f"{line}: a key is a list or a mapping; a plain word was needed")
        if key.value in seen:
            raise InputError(f"{line}: key '{key.value}' appears twice")
        seen.add(key.value)
        _refuse_repeated_keys(value, source)
