"""Stubs of ``proto/tradewind/order/v1``; ``make proto`` writes them."""
