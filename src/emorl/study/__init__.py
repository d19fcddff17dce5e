"""`emorl-study`: configurations trained for several seeds, in one table and one figure."""
