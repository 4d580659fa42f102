"""Tradewind's tests: unit mirrors the services, the rest runs on real servers."""
