"""What slots encode: matching, probes, DCI, activeness, traversals."""
