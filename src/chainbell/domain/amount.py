"""Amounts at the edge: base units inside, shortest plain decimals on the wire. Never a float."""


def plain_decimal(base_units: int, decimals: int) -> str:
    """Return base units as the shortest plain decimal: 12500000 with 6 decimals is ``12.5``."""
    sign = "-" if base_units < 0 else ""
    digits = str(abs(base_units)).rjust(decimals + 1, "0")
    if decimals == 0:
        return sign + digits
    whole, fraction = digits[:-decimals], digits[-decimals:].rstrip("0")
    return f"{sign}{whole}.{fraction}" if fraction else f"{sign}{whole}"
