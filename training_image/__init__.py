"""The training image: one GPU (or CPU) trains adapters for the people whom its manifest names."""
