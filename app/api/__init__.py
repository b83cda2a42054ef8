"""The HTTP API: one application, hosted by Lambda or by the local platform."""
