"""Mail: people are written to. A mail is one list of events; delivery is commands that add to it."""
