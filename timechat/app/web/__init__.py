"""The web page on which people ask a video: `python demo.py`, or `timechat demo`."""
