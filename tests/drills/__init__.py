"""Drills: faults under load, with a seed that repeats them, and a checker that shares no code with the services.

`make drills` runs each for a minute against a cluster; `test_short.py` runs a few seconds of each. See docs/drills.md.
"""
