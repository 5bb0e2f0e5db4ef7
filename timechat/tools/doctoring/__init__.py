"""The examinations of `python -m timechat.tools.doctor`, one file for each subject."""
