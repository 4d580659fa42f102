"""Stubs of ``proto/tradewind/chat/v1``; ``make proto`` writes them."""
