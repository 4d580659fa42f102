"""Stubs of ``proto/tradewind/push/v1``; ``make proto`` writes them."""
