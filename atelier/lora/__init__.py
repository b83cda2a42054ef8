"""Adapters on the device: bank, banked layers, adapter file and tensors, base-model families."""
