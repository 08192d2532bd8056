"""`python -m fedvoice`."""

from fedvoice.cli import main

if __name__ == "__main__":
    main()
