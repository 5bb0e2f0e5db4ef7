"""`python -m timechat.cli.doctor`."""

from __future__ import annotations

import sys

from timechat.cli.doctor.main import main

if __name__ == "__main__":
    sys.exit(main())
