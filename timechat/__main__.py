"""`python -m timechat VERB`, the same as the command `timechat`."""

import sys

from timechat.cli import main

if __name__ == "__main__":
    sys.exit(main())
