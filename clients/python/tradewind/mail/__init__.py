"""Stubs of ``proto/tradewind/mail``; ``make proto`` writes them."""
