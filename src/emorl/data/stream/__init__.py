"""Shards to batches: which samples, in which order, decoded and cropped."""
