"""What is wrong with annotations and their videos, before training finds out: `timechat data audit`."""
