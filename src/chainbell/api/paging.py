"""How a listing is asked for a page."""

from typing import Annotated

from pydantic import Field

from chainbell.api.views.wire import Wire
from chainbell.storage.paging import DEFAULT_LIMIT, MAX_LIMIT, PageRequest

Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT)]


class NoQuery(Wire):
    """A query without any parameter: one that is sent all the same is refused, lest it be thought to have an effect."""


class PageQuery(Wire):
    """The query of a listing; an unknown parameter is refused."""

    limit: Limit = DEFAULT_LIMIT
    cursor: str | None = None
    """``nextCursor`` of the page before."""

    @property
    def page(self) -> PageRequest:
        """The page that is asked for. Raises `InputError` for a cursor that is none of ours."""
        return PageRequest(self.limit, self.cursor)
