"""Studies of a trained model: how good it is, why, and what its slots stand for."""
