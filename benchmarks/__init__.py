"""What is measured, never tested: how fast and how large things are. Figures stand in RESULTS.md."""
