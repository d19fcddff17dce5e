"""The slot explorer: a static page on which visitors take a scene apart into slots, and change them."""
