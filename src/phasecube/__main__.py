"""`python -m phasecube` is `phasecube`."""

from __future__ import annotations

import sys

from phasecube.cli import main

if __name__ == "__main__":
    sys.exit(main())
