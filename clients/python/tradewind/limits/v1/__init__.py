"""Stubs of ``proto/tradewind/limits/v1``; ``make proto`` writes them."""
