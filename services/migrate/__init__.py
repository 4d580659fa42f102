"""Makes the CQL store ready: keyspaces, and in each the numbered migrations under ``infra/scylla`` that it lacks."""
