"""``python -m emorl``."""

from emorl.entry import main

main()
