"""Finds in a state machine what its authors would otherwise find in production."""
