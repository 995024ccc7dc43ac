"""From the quantized graph to a program and its constants."""
