"""Cursor pagination: `?cursor=&limit=`; an answer's `next` is the cursor of the page after it."""

from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel

from broker.service import Page

T = TypeVar("T")

DEFAULT = 50
MOST = 200
_LONGEST = 200


class Window(BaseModel):
    """Which part of a list was asked for."""

    cursor: str
    limit: int


async def window(
    cursor: Annotated[str, Query(max_length=_LONGEST, description="`next` of the page before.")] = "",
    limit: Annotated[int, Query(ge=1, le=MOST)] = DEFAULT,
) -> Window:
    """Read the part of a list that was asked for."""
    return Window(cursor=cursor, limit=limit)


Asked = Annotated[Window, Depends(window)]


def cut_out(rows: Sequence[T], asked: Window, name: Callable[[T], str]) -> Page[T]:
    """Return a page of rows that are at hand and sorted by name."""
    rest = [row for row in rows if name(row) > asked.cursor]
    if len(rest) <= asked.limit:
        return Page(tuple(rest))
    return Page(tuple(rest[: asked.limit]), name(rest[asked.limit - 1]))
