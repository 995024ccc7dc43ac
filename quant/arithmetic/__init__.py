"""From float layers without weights to their integer form: tables, and the factor of a normalization."""
