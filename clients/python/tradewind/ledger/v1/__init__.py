"""Stubs of ``proto/tradewind/ledger/v1``; ``make proto`` writes them."""
