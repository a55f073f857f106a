"""``python -m recaster`` is the command ``recast``."""

import sys

from recaster.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
