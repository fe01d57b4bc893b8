"""`python -m sqsuper.cli`, as the `sqsuper` command."""

from sqsuper.cli.main import main

if __name__ == "__main__":
    main()
