"""Stubs of ``proto/tradewind/errors``; ``make proto`` writes them."""
