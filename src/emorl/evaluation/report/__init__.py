"""The report: one HTML page about a trained model."""
