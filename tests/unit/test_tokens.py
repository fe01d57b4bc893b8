"""Tokens: made, told apart, named without being shown."""

from __future__ import annotations

import re
from hashlib import sha256

import pytest

from sqsuper import tokens


def test_made_tokens_have_the_form_and_never_repeat() -> None:
    made = {tokens.make() for _ in range(100)}
    assert len(made) == 100
    assert all(re.fullmatch(r"pmb-v1-[0-9a-f]{32}", token) for token in made)
    assert all(tokens.is_token(token) for token in made)


def test_digest_is_of_the_whole_token() -> None:
    assert tokens.digest("pmb-v1-x") == sha256(b"pmb-v1-x").digest()


def test_label_is_eight_hex_digits_of_the_digest() -> None:
    assert tokens.label(tokens.digest("pmb-v1-x")) == sha256(b"pmb-v1-x").hexdigest()[:8]


@pytest.mark.parametrize("text", ["!", "~", "a" * 512, "pmb-v1-000", "a,b;c=d"])
def test_tokens(text: str) -> None:
    assert tokens.is_token(text)


@pytest.mark.parametrize("text", ["", "a" * 513, "a b", "a\n", "\x7f", "\u00e9", "a\0", "\u0661"])
def test_no_tokens(text: str) -> None:
    assert not tokens.is_token(text)
