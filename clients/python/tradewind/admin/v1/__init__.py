"""Stubs of ``proto/tradewind/admin/v1``; ``make proto`` writes them."""
