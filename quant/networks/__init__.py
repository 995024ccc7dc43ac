"""The float side: layers, their shapes, passes, execution, and networks described layer by layer."""
