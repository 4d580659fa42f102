"""Stubs of ``proto/tradewind/mail/v1``; ``make proto`` writes them."""
