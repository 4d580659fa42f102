"""Stubs of ``proto/tradewind/type``; ``make proto`` writes them."""
