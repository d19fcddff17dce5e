"""Studies of scores: refinement steps, slots, draws, robustness and layers."""
