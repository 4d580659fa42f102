"""Measurements: each beside its yardstick, in turns and in one run, because a shared machine's speed drifts."""
