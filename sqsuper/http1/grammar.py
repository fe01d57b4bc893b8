"""The grammar of RFC 9110 and RFC 9112, as compiled patterns named after its rules.

Where we are stricter than the RFC the comment says so. Patterns match bytes and are used with
`fullmatch` (or `match` at a position, for the partial ones).
"""

from __future__ import annotations

import re

# RFC 9110 5.6.2
TCHAR = rb"[!#$%&'*+.^_`|~0-9A-Za-z-]"
TOKEN = TCHAR + rb"+"
token = re.compile(TOKEN)

# RFC 9110 5.6.3
OWS = b" \t"
_BWS = rb"[ \t]*"

# RFC 9112 3.2 allows ASCII URIs only; SQ's clients send raw UTF-8, lone `%` and other
# characters that no URI may hold, so all of 0x21-0xFF is taken but `#` and DEL.
TARGET_CHAR = rb"[\x21\x22\x24-\x7e\x80-\xff]"
# RFC 9112 2.3
_VERSION = rb"HTTP/([0-9])\.([0-9])"
# RFC 9112 3 (MAY be lenient about blanks: we are not)
request_line = re.compile(rb"(" + TOKEN + rb") (" + TARGET_CHAR + rb"+) " + _VERSION)

# RFC 9110 5.5; control bytes but HTAB are refused (MAY be kept there)
VALUE_CHAR = rb"[\t\x20-\x7e\x80-\xff]"
# RFC 9112 5; obs-fold (5.2) and a bare CR or LF (2.2) do not match
FIELD_LINE = TOKEN + rb":" + VALUE_CHAR + rb"*"
field_line = re.compile(FIELD_LINE)
field_lines = re.compile(rb"(?:" + FIELD_LINE + rb"\r\n)*")

# RFC 9112 4: the blank before an empty reason phrase is often left out
status_line = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9][0-9])(?: (" + VALUE_CHAR + rb"*))?")

# RFC 9110 8.6; leading zeros are legal there, but some read them as octal
content_length = re.compile(rb"0|[1-9][0-9]*")

# RFC 9110 7.2 with a narrower reg-name; an IPv6 literal is checked further by the caller
host = re.compile(rb"(?:[A-Za-z0-9._~-]+|\[([0-9A-Fa-f:.]+)\])(?::([0-9]{1,5}))?")

# RFC 9112 7.1.1, RFC 9110 5.6.4
QDTEXT = rb"[\t\x20\x21\x23-\x5b\x5d-\x7e\x80-\xff]"
_QUOTED_PAIR = rb"\\[\t\x20-\x7e\x80-\xff]"
_QUOTED = rb'"(?:' + QDTEXT + rb"|" + _QUOTED_PAIR + rb')*"'
_EXT = (
    _BWS
    + rb";"
    + _BWS
    + TOKEN
    + rb"(?:"
    + _BWS
    + rb"="
    + _BWS
    + rb"(?:"
    + TOKEN
    + rb"|"
    + _QUOTED
    + rb"))?"
)
_SIZE = rb"[0-9A-Fa-f]{1,16}"
chunk_line = re.compile(rb"(" + _SIZE + rb")((?:" + _EXT + rb")*)")
