"""`python -m counterstain` is the command line, for launchers that start a module."""

from counterstain.cli import main

main()
