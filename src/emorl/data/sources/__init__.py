"""Readers of the formats in which data sets are published, and of folders of images."""
