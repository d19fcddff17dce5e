"""Analysis of what slots encode: matching, probes, DCI, activeness and traversals."""
