"""The two platforms: the local one, and the stacks that deploy to AWS."""
