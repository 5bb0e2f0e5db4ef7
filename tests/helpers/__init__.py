"""Small makers of test data."""
