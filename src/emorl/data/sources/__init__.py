"""Data sets in the formats in which they were published."""
