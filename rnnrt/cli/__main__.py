"""``python -m rnnrt.cli``: the same as the ``rnnrt`` command."""

import sys

from rnnrt.cli import main

sys.exit(main())
