"""`python -m aixgo.cli`: the same as `aixgo`."""

from aixgo.cli import main

if __name__ == "__main__":
    main()
