"""Half-open ranges of rows, columns, elements or bytes."""

Span = tuple[int, int]
"""First, and the one behind the last."""


def size(span: Span) -> int:
    """How many lie in ``span``."""
    return span[1] - span[0]
