#!/usr/bin/env python
"""Train TimeChat: `timechat train`, as torchrun starts it. See timechat/cli/train.py."""

import sys

from timechat.cli.train import main

if __name__ == "__main__":
    sys.exit(main())
