"""`python -m counterstain.cli`."""

from counterstain.cli import main

if __name__ == "__main__":
    main()
