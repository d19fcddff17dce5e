"""The slot explorer: a static page that decomposes scenes into slots and lets users edit them."""
