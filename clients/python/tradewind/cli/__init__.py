"""The command line ``tradewind``: everyday commands, and real data in and out, over the public API alone."""
