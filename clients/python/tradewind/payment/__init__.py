"""Stubs of ``proto/tradewind/payment``; ``make proto`` writes them."""
