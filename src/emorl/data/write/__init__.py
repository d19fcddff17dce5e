"""Writing of records to shards: atomic, resumable, in parallel."""
