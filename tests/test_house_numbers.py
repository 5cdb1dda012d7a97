"""The limits of the source hold, and each count finds what it looks for."""

import ast

from house_numbers import (
    MOST_LINES_OF_A_FUNCTION,
    code_lines,
    cycle,
    file_cycle,
    has_any,
    imports_on_loading,
    long_files,
    long_functions,
    parsed,
    public_functions,
    twins,
)
from test_architecture import SOURCE

# Each is a signature: an option of the command line per line, with its help.
LONG = {"cli/slides_run.py: slides_run", "cli/slide_verbs.py: slides_tiles"}


def test_files_stay_small() -> None:
    assert long_files() == {}, "split it by what its parts are about"


def test_functions_stay_short() -> None:
    assert set(long_functions(parsed())) == LONG


def test_a_long_function_is_found_and_its_docstring_is_not_counted() -> None:
    def source(lines: int) -> str:
        return "def f(x):\n" + '    """One.\n\n    Two.\n    """\n' + "    x += 1\n" * lines

    place = SOURCE / "a.py"
    assert long_functions({place: ast.parse(source(MOST_LINES_OF_A_FUNCTION - 1))}) == {}
    assert long_functions({place: ast.parse(source(MOST_LINES_OF_A_FUNCTION))}) == {"a.py: f": 61}


def test_files_do_not_import_each_other_in_a_circle() -> None:
    assert file_cycle(parsed()) == []


def test_a_circle_is_found() -> None:
    assert cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_imports_in_functions_and_for_type_checkers_are_not_on_loading() -> None:
    code = "from counterstain.a import b\nif TYPE_CHECKING:\n    from counterstain.c import d\n"
    code += (
        "def f():\n    from counterstain.e import g\ntry:\n    from counterstain.h import i\nexcept ImportError: ...\n"
    )
    assert imports_on_loading(ast.parse(code)) == {"a", "a.b", "h", "h.i"}


def test_a_twin_is_found_and_counted_once() -> None:
    lines = [f"x = f({k})" for k in range(6)]
    assert twins([["a = 1", *lines], [*lines, "b = 2"], lines[:3]]) == 1
    assert twins([lines, lines[::-1]]) == 0


def test_no_function_is_written_twice() -> None:
    """Six equal lines in a row, anywhere."""
    bodies = [body for path, tree in parsed().items() for body in code_lines(path, tree)]
    assert twins(bodies, 6) == 0


def test_an_any_is_found() -> None:
    code = "def f(x: Any) -> int: ...\ndef g() -> dict[str, Any]: ...\ndef h(x: object) -> None: ...\n"
    code += "class C:\n    def m(self, *rest: Any) -> None: ...\n    def _n(self, x: Any) -> None: ...\n"
    code += "@overload\ndef o(x: int) -> int: ...\ndef o(x: Any) -> Any: ...\n"
    assert [name for name, node in public_functions(ast.parse(code).body) if has_any(node)] == ["f", "g", "C.m"]
