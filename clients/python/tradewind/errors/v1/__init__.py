"""Stubs of ``proto/tradewind/errors/v1``; ``make proto`` writes them."""
