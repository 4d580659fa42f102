"""Stubs of ``proto/tradewind/push``; ``make proto`` writes them."""
