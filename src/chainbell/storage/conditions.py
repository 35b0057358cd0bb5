"""The conditions of a listing: only those that somebody asks for stand in its SQL.

``$1 is null or status = $1`` in a prepared statement would hide from PostgreSQL which index answers it.
"""

from collections.abc import Collection


class Conditions:
    """Conditions in SQL, and the arguments of the statement that they are part of."""

    def __init__(self) -> None:
        self.arguments: list[object] = []
        self._conditions: list[str] = []

    def place(self, value: object) -> str:
        """Add an argument; return its placeholder."""
        self.arguments.append(value)
        return f"${len(self.arguments)}"

    def equal(self, column: str, value: object | None) -> None:
        """Demand that a column has this value; None demands nothing."""
        if value is not None:
            self._conditions.append(f"{column} = {self.place(value)}")

    def among(self, column: str, values: Collection[str] | None) -> None:
        """Demand that a column has one of these texts; None demands nothing."""
        if values is not None:
            self._conditions.append(f"{column} = any({self.place(list(values))}::text[])")

    def before(self, columns: str, *values: object | None) -> None:
        """Demand that columns, separated by commas, come before these values; Nones demand nothing."""
        if None not in values:
            self._conditions.append(f"({columns}) < ({', '.join(self.place(value) for value in values)})")

    def behind(self, column: str, value: object) -> None:
        """Demand that a column is greater than this value."""
        self._conditions.append(f"{column} > {self.place(value)}")

    def at_least(self, column: str, value: object | None) -> None:
        """Demand that a column is this value or greater; None demands nothing."""
        if value is not None:
            self._conditions.append(f"{column} >= {self.place(value)}")

    def up_to(self, column: str, value: object) -> None:
        """Demand that a column is at most this value."""
        self._conditions.append(f"{column} <= {self.place(value)}")

    def demand(self, condition: str) -> None:
        """Demand what is written in SQL: made of literals and of what `place` returned."""
        self._conditions.append(condition)

    def __str__(self) -> str:
        """Write them for ``where``."""
        return " and ".join(self._conditions) or "true"
