"""The command line: ``python -m tightfit``, and the script ``tightfit``.

NumPy is not loaded for it, so that ``--memory`` bounds what TightFit takes in a process as small as Python's can be.
"""

import sys

from . import _tightfit


def main():
    """Runs the command line of this process, and ends it."""
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(_tightfit.command_line(["tightfit", *sys.argv[1:]]))


if __name__ == "__main__":
    main()
