"""Stubs of ``proto/tradewind/admin``; ``make proto`` writes them."""
