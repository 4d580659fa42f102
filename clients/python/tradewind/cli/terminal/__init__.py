"""The terminal client: conversations as people see them, on one screen."""
