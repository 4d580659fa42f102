"""Stubs of ``proto/tradewind/type/v1``; ``make proto`` writes them."""
