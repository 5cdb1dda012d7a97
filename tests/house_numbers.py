"""Count what docs/architecture.md says of the size and the order of the source; draw_architecture writes it there."""

import ast
from collections import Counter
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

from test_architecture import SOURCE, modules

Function = ast.FunctionDef | ast.AsyncFunctionDef
MOST_LINES_OF_A_FILE = 414
MOST_LINES_OF_A_FUNCTION = 60
TWIN = 4  # equal lines of code that make two places similar


def parsed() -> dict[Path, ast.Module]:
    """Every file of the source with its syntax tree."""
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in sorted(SOURCE.rglob("*.py"))}


def lines_of(path: Path) -> int:
    """How many lines a file has."""
    return len(path.read_text(encoding="utf-8").splitlines())


def long_files() -> dict[str, int]:
    """Path below src/counterstain -> lines of a file, of those above the limit."""
    return {
        path.relative_to(SOURCE).as_posix(): lines_of(path)
        for path in modules()
        if lines_of(path) > MOST_LINES_OF_A_FILE
    }


def length(node: Function) -> int:
    """Lines of a function from its `def` to its end, without decorators and docstring."""
    lines = (node.end_lineno or node.lineno) - node.lineno + 1
    first = node.body[0]
    if ast.get_docstring(node, clean=False) is not None:
        lines -= (first.end_lineno or first.lineno) - first.lineno + 1
    return lines


def long_functions(trees: dict[Path, ast.Module]) -> dict[str, int]:
    """file: function -> its lines, of those above the limit."""
    return {
        f"{path.relative_to(SOURCE).as_posix()}: {node.name}": length(node)
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, Function) and length(node) > MOST_LINES_OF_A_FUNCTION
    }


def imports_on_loading(tree: ast.Module) -> set[str]:
    """Modules of the package that a file imports when it is loaded: not inside functions, not for type checkers."""
    names: set[str] = set()
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "counterstain":
            module = (node.module or "").removeprefix("counterstain").lstrip(".")
            names |= {module, *(f"{module}.{alias.name}".lstrip(".") for alias in node.names)}
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            waiting += [*node.body, *node.orelse]
        elif isinstance(node, ast.Try):
            waiting += [*node.body, *node.orelse, *node.finalbody]
    return names


def cycle(below: dict[str, set[str]]) -> list[str]:
    """The first circle of files that import each other, [a, b, a]; [] where there is none."""
    done: set[str] = set()

    def walk(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        found = next((circle for other in sorted(below.get(name, ())) if (circle := walk(other, [*way, name]))), [])
        done.add(name)
        return found

    return next((circle for name in sorted(below) if (circle := walk(name, []))), [])


def file_cycle(trees: dict[Path, ast.Module]) -> list[str]:
    """The first circle of the source's own files, on loading."""
    named = {".".join(path.relative_to(SOURCE).with_suffix("").parts): tree for path, tree in trees.items()}
    return cycle({name: imports_on_loading(tree) & set(named) - {"__init__"} for name, tree in named.items()})


def code_lines(path: Path, tree: ast.Module) -> list[list[str]]:
    """The statements of each function of a file, with what is defined in it, as stripped lines: no signature, docstring
    or import."""
    text = path.read_text(encoding="utf-8").splitlines()
    bodies = []
    nested = {
        inner for one in ast.walk(tree) if isinstance(one, Function) for inner in ast.walk(one) if inner is not one
    }
    for node in ast.walk(tree):
        if isinstance(node, Function) and node not in nested:
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            body = [one for one in body if not isinstance(one, (ast.Import, ast.ImportFrom))]
            lines = [line.strip() for one in body for line in text[one.lineno - 1 : one.end_lineno or one.lineno]]
            bodies.append([line for line in lines if any(letter.isalnum() for letter in line)])
    return bodies


def twins(bodies: list[list[str]], lines: int = TWIN) -> int:
    """Pairs of places of so many equal lines of code or more; a longer pair counts once."""
    places: dict[tuple[str, ...], list[tuple[int, int]]] = {}
    for number, body in enumerate(bodies):
        for start in range(len(body) - lines + 1):
            places.setdefault(tuple(body[start : start + lines]), []).append((number, start))
    pairs = Counter(
        (first[0], second[0], second[1] - first[1])
        for found in places.values()
        for first, second in pairwise(found)
        if first[0] != second[0]
    )
    return len(pairs)


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
    """Whether an argument or the result of a function is an Any, or made of one."""
    arguments = node.args
    every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg]
    kinds = [one.annotation for one in every if one is not None and one.annotation is not None]
    kinds += [node.returns] if node.returns is not None else []
    return any(isinstance(part, ast.Name) and part.id == "Any" for kind in kinds for part in ast.walk(kind))


def with_any(trees: dict[Path, ast.Module]) -> list[str]:
    """file: function, of the public ones that have an Any."""
    return [
        f"{path.relative_to(SOURCE).as_posix()}: {name}"
        for path, tree in trees.items()
        for name, node in public_functions(tree.body)
        if has_any(node)
    ]


def numbers(arrows: int) -> dict[str, int]:
    """What the page says, by its words there; files and lines come first."""
    trees = parsed()
    return {
        "files": len(trees),
        "lines": sum(map(lines_of, trees)),
        "arrows between rooms": arrows,
        "circles of files that import each other on loading": int(bool(file_cycle(trees))),
        f"files over {MOST_LINES_OF_A_FILE} lines": len(long_files()),
        f"functions over {MOST_LINES_OF_A_FUNCTION} lines, docstring not counted": len(long_functions(trees)),
        "public functions and methods with `Any`": len(with_any(trees)),
        f"pairs of functions that share {TWIN} lines in a row": twins(
            [body for path, tree in trees.items() for body in code_lines(path, tree)]
        ),
    }
