"""Examples in docstrings and in the page on Python run, and give what they say."""

import ast
import doctest
import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src"
PAGE = ROOT / "docs" / "python.md"


def with_examples() -> list[str]:
    """Modules that have an example, by their text: nothing is imported to find them."""
    paths = sorted((SOURCE / "counterstain").rglob("*.py"))
    return [
        ".".join(path.relative_to(SOURCE).with_suffix("").parts)
        for path in paths
        if ">>> " in path.read_text(encoding="utf-8")
    ]


@pytest.mark.parametrize("name", with_examples())
def test_examples_of_a_module(name: str) -> None:
    module = importlib.import_module(name)
    found = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert found.attempted > 0 and found.failed == 0


def test_the_page_on_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its `>>>` examples, in one session and an empty folder."""
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8").replace("\n```\n", "\n\n")  # a closing fence is no expected output
    test = doctest.DocTestParser().get_doctest(text, {}, "python.md", str(PAGE), 0)
    assert len(test.examples) > 10
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS)
    assert runner.run(test).failed == 0


def test_the_other_blocks_of_the_page_are_python_that_names_what_is_there() -> None:
    """What takes a trained model or slides isn't run; it is parsed, and its calls are of public functions."""
    import inspect

    import counterstain

    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    plain = [block for block in blocks if ">>>" not in block]
    assert plain
    for block in plain:
        for node in ast.walk(ast.parse(block)):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "counterstain":
                known = inspect.signature(getattr(counterstain, node.func.attr)).parameters
                assert {word.arg for word in node.keywords} <= set(known), ast.unparse(node)
