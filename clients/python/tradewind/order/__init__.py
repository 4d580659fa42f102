"""Stubs of ``proto/tradewind/order``; ``make proto`` writes them."""
