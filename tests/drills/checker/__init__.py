"""The checker: out of what clients recorded and what the deployment now shows it proves that nothing was lost, doubled or made up.

It shares no code with the services (`test_checker.py` holds it to that): it reads records, the public API, and the raw stores.
"""
