"""Stubs of ``proto/tradewind/limits``; ``make proto`` writes them."""
