"""The serving container: one resident base model, everybody's adapter a slot away."""
