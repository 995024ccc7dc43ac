"""What all tests run with."""

import gc

# Graphs and plans live long and hold no circles worth looking for: collecting as often as Python does by itself takes
# up to a seventh of a test's processor time.
gc.set_threshold(50_000, 20, 50)
