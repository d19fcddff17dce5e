"""Records to shards: atomic, resumable, in parallel."""
