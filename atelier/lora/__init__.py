"""Adapters on the device: families of base models, the bank of slots, adapter files, sampling."""
