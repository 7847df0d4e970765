"""``python -m lra``"""

import os
import sys

# `python -m` looks in the current folder first, where a file of the user's own may be called as one of Python's.
if sys.path[0] == os.getcwd():  # noqa: PTH109
    sys.path.append(sys.path.pop(0))

from lra.cli.forking import run

raise SystemExit(run(sys.argv[1:]))
