"""``python -m slimpose``: the command where its script is not on the path."""

from slimpose.cli.main import main

if __name__ == "__main__":
    main()
