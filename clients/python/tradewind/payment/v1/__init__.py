"""Stubs of ``proto/tradewind/payment/v1``; ``make proto`` writes them."""
