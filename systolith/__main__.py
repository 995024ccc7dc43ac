"""``python -m systolith``."""

from .cli import main

main()
