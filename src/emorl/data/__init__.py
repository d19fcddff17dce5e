"""Data: formats of the world in, shards, and the stream that feeds the model."""
