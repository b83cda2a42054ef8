"""People's photos: decoded under limits, judged, re-encoded without metadata."""
