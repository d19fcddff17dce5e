"""Generated data sets: nothing to download."""
