"""What a data set is on disk: the manifest, the tar files, and how they are fetched."""
