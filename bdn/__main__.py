"""``python -m bdn``."""

from bdn.cli import main

if __name__ == "__main__":
    main()
