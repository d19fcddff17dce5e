"""The file format: the manifest, the tar files, and how they are fetched."""
