"""Remembers the values of short texts, which come again. Bounded in bytes: a long text is seldom seen twice."""

from functools import lru_cache, wraps

LONGEST = 128


def cached(entries: int):
    """lru_cache for a function of one text, of which those over LONGEST characters are not kept."""

    def wrap(function):
        kept = lru_cache(maxsize=entries)(function)

        @wraps(function)
        def call(text: str):
            return kept(text) if len(text) <= LONGEST else function(text)

        return call

    return wrap
