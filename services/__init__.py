"""The services of Tradewind and the mechanism under them; run one as ``python -m services.<name>``."""
