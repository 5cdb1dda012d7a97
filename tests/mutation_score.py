"""What `make mutate` found: mutants killed by file, and each survivor as the lines it changes. Exit 3 below 90 %.

A mutant is the code with one thing changed: a sign, a comparison, a number, an argument. It is killed where a test then
fails, or never ends. docs/mutants.md says which survive, and why.

    python tests/mutation_score.py [--survivors]
"""

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from mutmut.mutation.data import SourceFileMutationData
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.stats import status_by_exit_code

NEEDED = 0.9
KILLED = ("killed", "timeout", "segfault")
UNFINISHED = ("not checked", "check was interrupted by user")


def statuses(path: Path) -> dict[str, str]:
    """Mutant -> what became of it, of one source file."""
    found = SourceFileMutationData(path=path)
    found.load()
    return {name: status_by_exit_code[code] for name, code in found.exit_code_by_key.items()}


def changed_lines(name: str, path: Path) -> str:
    """The lines that a mutant takes out and puts in."""
    lines = get_diff_for_mutant(name, path=path).splitlines()[2:]
    return "\n".join(f"    {line}" for line in lines if line[:1] in "+-")


def files_with_mutants() -> list[Path]:
    """The source files that mutants were made of, as paths from the root of the repository."""
    return [meta.relative_to("mutants").with_suffix("") for meta in sorted(Path("mutants/src").rglob("*.meta"))]


def print_survivors(found: Mapping[str, str], path: Path) -> None:
    """Each survivor's name and the lines that it changes."""
    for name, status in found.items():
        if status not in KILLED + UNFINISHED:
            print(f"  {name} ({status})\n{changed_lines(name, path)}")


def main(*, survivors: bool) -> int:
    """Print the table; 0 where enough mutants were killed, 2 where some were not tried, 3 where too many survive."""
    by_file = {path: statuses(path) for path in files_with_mutants()}
    total: Counter[str] = Counter()
    for path, found in by_file.items():
        count = Counter(found.values())
        total += count
        killed = sum(count[status] for status in KILLED)
        if found:
            print(f"{killed:5d} of {len(found):5d}  {killed / len(found):6.1%}  {path}")
        if survivors:
            print_survivors(found, path)
    every, untried = sum(total.values()), sum(total[status] for status in UNFINISHED)
    if not every or untried:
        print(f"{untried} of {every} mutants were not tried; let make mutate come to its end")
        return 2
    share = sum(total[status] for status in KILLED) / every
    print(f"{share:.1%} of {every} mutants killed; {NEEDED:.0%} needed")
    return 0 if share >= NEEDED else 3


if __name__ == "__main__":
    sys.exit(main(survivors="--survivors" in sys.argv))
