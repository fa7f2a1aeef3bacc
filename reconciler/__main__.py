"""Runs the command line with `python -m reconciler`."""

import sys

from reconciler.cli import main

sys.exit(main())
