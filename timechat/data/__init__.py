"""What prepares training data: audits, places of files, converters, clips, compression."""
