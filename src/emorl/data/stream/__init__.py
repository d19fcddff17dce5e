"""The stream from shards to batches: order of scenes, decoding, cropping and batching."""
