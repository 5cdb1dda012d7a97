"""Signatures say what they take and give: few public functions have an Any, and their number only falls."""

import ast
from collections.abc import Iterator
from pathlib import Path

SOURCE = Path(__file__).parents[2] / "src" / "counterstain"
Function = ast.FunctionDef | ast.AsyncFunctionDef
MOST = 55  # what reads files of others or libraries without types; lower it when you mend some


def public_functions(body: list[ast.stmt], prefix: str = "") -> Iterator[tuple[str, Function]]:
    """("Class.method" or "function", its node) of what a module offers; the implementation of overloads is hidden."""
    overloaded = {
        node.name
        for node in body
        if isinstance(node, Function) and any("overload" in ast.unparse(one) for one in node.decorator_list)
    }
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{prefix}{node.name}.")
        elif isinstance(node, Function) and not node.name.startswith("_"):
            hidden = not any("overload" in ast.unparse(one) for one in node.decorator_list)
            if not (node.name in overloaded and hidden):
                yield prefix + node.name, node


def has_any(node: Function) -> bool:
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    kinds = [one.annotation for one in every if one is not None and one.annotation is not None]
    kinds += [node.returns] if node.returns is not None else []
    return any(isinstance(part, ast.Name) and part.id == "Any" for kind in kinds for part in ast.walk(kind))


def with_any() -> list[str]:
    return [
        f"{path.relative_to(SOURCE)}: {name}"
        for path in sorted(SOURCE.rglob("*.py"))
        for name, node in public_functions(ast.parse(path.read_text(encoding="utf-8")).body)
        if has_any(node)
    ]


def test_few_public_signatures_have_any() -> None:
    found = with_any()
    assert len(found) <= MOST, "\n".join(found)


def test_an_any_is_found() -> None:
    code = "def f(x: Any) -> int: ...\ndef g() -> dict[str, Any]: ...\ndef h(x: object) -> None: ...\n"
    code += "class C:\n    def m(self, *rest: Any) -> None: ...\n    def _n(self, x: Any) -> None: ...\n"
    code += "@overload\ndef o(x: int) -> int: ...\ndef o(x: Any) -> Any: ...\n"
    found = [name for name, node in public_functions(ast.parse(code).body) if has_any(node)]
    assert found == ["f", "g", "C.m"]


def test_the_interface_of_users_has_none() -> None:
    assert [name for name in with_any() if name.startswith("api/")] == []
