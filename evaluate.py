#!/usr/bin/env python
"""Evaluate TimeChat on a benchmark: `timechat evaluate`, as torchrun starts it. See timechat/cli/evaluate.py."""

import sys

from timechat.cli.evaluate import main

if __name__ == "__main__":
    sys.exit(main())
