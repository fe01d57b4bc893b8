"""What looks like a token is cut, in whatever text it stands."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from sqsuper.config.errors import hide_tokens

# The same by its meaning alone, which takes the square of a text's length.
PLAIN = re.compile(r"pmb-v1-[0-9A-Za-z-]{4,}|(?=[A-Za-z]*[0-9])[0-9A-Za-z]{40,}")
PIECES = st.sampled_from(["pmb-v1-", "pmb", "-", " ", "\u00e9", "a" * 20, "b" * 41, "7", "c1" * 20])


@given(st.lists(PIECES, max_size=12).map("".join))
def test_what_looks_like_a_token_is_cut(text: str) -> None:
    assert hide_tokens(text) == PLAIN.sub(lambda found: found[0][:7] + "...", text)


def test_a_long_text_is_looked_at_once() -> None:
    # The square of it would take hours.
    text = "x" * 2_000_000
    assert hide_tokens(text) == text
