"""The operator's commands: what is done about a lost log or a lost store, and against it. Runbooks are in docs/operations.md."""
