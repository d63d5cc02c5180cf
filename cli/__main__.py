"""`python -m cli` is the console script `cli`."""

from cli import main

if __name__ == "__main__":
    main(prog_name="cli")
