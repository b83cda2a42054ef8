"""Material for demos and tests: the base model `tiny` and sample photos."""
