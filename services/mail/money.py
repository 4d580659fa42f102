"""Amounts as people read them."""

from __future__ import annotations

from typing import Final

_NO_MINOR: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX UYI VND VUV XAF XOF XPF"
_THREE: Final = "BHD IQD JOD KWD LYD OMR TND"
_FOUR: Final = "CLF UYW"

EXPONENTS: Final = {
    code: digits for digits, codes in ((0, _NO_MINOR), (3, _THREE), (4, _FOUR)) for code in codes.split()
}
"""Digits of the minor unit (ISO 4217, table A.1) where they are not two."""


def written(minor_units: int, currency_code: str) -> str:
    """Write an amount: 123456 of "GBP" is "1,234.56 GBP"."""
    digits = EXPONENTS.get(currency_code, 2)
    whole, rest = divmod(abs(minor_units), 10**digits)
    fraction = f".{rest:0{digits}d}" if digits else ""
    return f"{'-' if minor_units < 0 else ''}{whole:,}{fraction} {currency_code}"
