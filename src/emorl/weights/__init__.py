"""Trained weights, each a NAME.safetensors with its card, NAME.json, and the curve of its training, NAME.png."""
