"""The stream from shards to batches: order of samples, decoding, cropping and batching."""
