"""What synthesis is told of the engine's memories."""

COLLISIONS_NEVER_COUNT = {"no_rw_check": 1}
"""What a read gives at an address that is written in the same cycle is never used, so that a block RAM needs no logic
around it to give the old value.  tests/test_hw_collisions.py runs networks on memories that give garbage there.
"""
