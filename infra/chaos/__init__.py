"""Chaos on demand: a fleet of onboardings under a reproducible history of faults."""
