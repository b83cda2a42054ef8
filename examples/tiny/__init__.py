"""The base model `tiny`: its drawn world, its training and its judge."""
