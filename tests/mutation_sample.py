"""`make mutate SAMPLE=800`: try a random part of the mutants of every file, and go on where it was stopped.

Every file gives the same share of its mutants. Which ones is decided by a hash of the seed and the mutant's name, so
that a second call with the same seed takes the same ones, and a change of one file leaves the others' as they are.

    python tests/mutation_sample.py --count 800 [--seed 1] [--again]
"""

import argparse
import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mutation_score import KILLED, NEEDED, UNFINISHED, files_with_mutants, print_survivors, statuses

MUTMUT = (str(Path(sys.executable).with_name("mutmut")), "run", "--max-children", "1")
REACHED = Path("mutants/mutmut-stats.json")  # which tests reach which function; mutmut sees new tests, not changed ones
NO_MUTANT = "(makes the mutants, tries none)"


def place(name: str, seed: int) -> bytes:
    """Where a mutant stands in the random order of its file."""
    return hashlib.sha256(f"{seed} {name}".encode()).digest()


def sample(names_by_file: Mapping[Path, Iterable[str]], *, count: int, seed: int) -> dict[Path, list[str]]:
    """File -> the mutants taken: `count` in all, in proportion to what each file has, largest remainders first.

    >>> drawn = sample({Path("a.py"): [f"a{i}" for i in range(30)], Path("b.py"): ["b0", "b1"]}, count=16, seed=1)
    >>> [len(names) for names in drawn.values()]
    [15, 1]
    """
    every = {path: sorted(names, key=lambda name: place(name, seed)) for path, names in names_by_file.items()}
    total = sum(map(len, every.values()))
    quota = {path: min(count, total) * len(names) / total for path, names in every.items() if names}
    taken = {path: math.floor(share) for path, share in quota.items()}
    by_remainder = sorted(quota, key=lambda path: (taken[path] - quota[path], str(path)))
    for path in by_remainder[: min(count, total) - sum(taken.values())]:
        taken[path] += 1
    return {path: every[path][:number] for path, number in taken.items()}


def wilson(killed: int, tried: int) -> tuple[float, float]:
    """95 % limits of a share; with the same share of every file it is a little too wide, never too narrow."""
    z, share = 1.959964, killed / tried
    middle, half = share + z * z / (2 * tried), z * math.sqrt(share * (1 - share) / tried + z * z / (4 * tried**2))
    return (middle - half) / (1 + z * z / tried), (middle + half) / (1 + z * z / tried)


def run_mutmut(names: Sequence[str]) -> None:
    """Try these mutants, again where they were tried before."""
    subprocess.run([*MUTMUT, *names], check=True, env={**os.environ, "OMP_NUM_THREADS": "1"})


def make_mutants() -> None:
    """The mutants of the code as it is now, without trying one: mutmut ends with an error when no name matches."""
    found = subprocess.run([*MUTMUT, NO_MUTANT], capture_output=True, text=True, check=False)
    if "nothing matches" not in found.stderr:
        sys.exit(f"the mutants could not be made:\n{found.stdout[-3000:]}\n{found.stderr[-3000:]}")


def report(found: Mapping[str, str], drawn: Mapping[Path, Sequence[str]]) -> int:
    """Print the table and every survivor; 0 where the share killed is at least what is needed, else 3."""
    for path, names in drawn.items():
        print(f"{sum(found[name] in KILLED for name in names):5d} of {len(names):5d}  {path}")
        print_survivors({name: found[name] for name in names}, path)
    tried = [found[name] for names in drawn.values() for name in names]
    killed = sum(status in KILLED for status in tried)
    low, high = wilson(killed, len(tried))
    print(f"{killed} of {len(tried)} sampled mutants killed: {killed / len(tried):.1%} (95 % {low:.1%} to {high:.1%})")
    return 0 if killed >= NEEDED * len(tried) else 3


def main() -> int:
    """Draw, try what is untried (with --again also what survived), report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--again", action="store_true", help="try survivors once more, after new tests")
    asked = parser.parse_args()
    if asked.again:
        REACHED.unlink(missing_ok=True)
    make_mutants()
    wanted = (*UNFINISHED, "survived", "no tests", "suspicious") if asked.again else UNFINISHED
    before: list[str] = []
    while True:
        by_file = {path: statuses(path) for path in files_with_mutants()}
        found = {name: status for statuses_of in by_file.values() for name, status in statuses_of.items()}
        drawn = sample(by_file, count=asked.count, seed=asked.seed)
        untried = [name for names in drawn.values() for name in names if found[name] in wanted]
        if not untried:
            return report(found, drawn)
        if untried == before:
            print(f"{len(untried)} mutants were not tried, {untried[0]} among them; mutmut says above why")
            return 2
        run_mutmut(untried)
        wanted, before = UNFINISHED, untried


if __name__ == "__main__":
    sys.exit(main())
