"""Studies of a trained model: its scores, and the information that its slots contain."""
