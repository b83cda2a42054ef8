"""Measurements: each prints one JSON line with machine and versions."""
