"""Looking at people's photos: decoded under limits, judged, re-encoded. Once, and only here."""
