"""One page on a trained model."""
