"""Stubs of ``proto/tradewind/chat``; ``make proto`` writes them."""
