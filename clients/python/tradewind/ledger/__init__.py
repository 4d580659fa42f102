"""Stubs of ``proto/tradewind/ledger``; ``make proto`` writes them."""
