"""What people and programs touch: the HTTP API, the `atelier` command, the local composition."""
