"""Tradewind's Python client: stubs under ``tradewind.<area>.v1``, the hand-made layer in ``tradewind.sdk``."""
