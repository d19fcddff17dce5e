"""The commands of `emorl-data`: each function is one, its docstring the help."""
