#!/usr/bin/env python
"""Ask a video in the browser: `timechat demo`. See timechat/cli/demo.py."""

import sys

from timechat.cli.demo import main

if __name__ == "__main__":
    sys.exit(main())
