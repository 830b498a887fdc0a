"""`python -m synflow_bench`: the command line without its script."""

import sys

from synflow_bench.cli import main

sys.exit(main())
