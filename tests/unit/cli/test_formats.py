"""Each format as it is found in the field, told apart by content alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sqsuper.cli.formats import lines, structured
from sqsuper.cli.formats.detect import parse, read
from sqsuper.cli.formats.found import FormatError, Found, UnknownFormatError

BASE = Path("/etc/sq")
T1 = "pmb-v1-0123456789abcdef0123456789abcdef"
T2 = "pmb-v1-001-0123456789abcdef01234567"


def found(text: str) -> tuple[Found, ...]:
    return parse(text, "f", BASE).tenants


def facts(one: Found) -> tuple[object, ...]:
    return (one.token, one.name, one.port, str(one.data_dir) if one.data_dir else None, one.enabled)


def test_the_router() -> None:
    listing = parse(
        f"""{{"tenants": [
          {{"token": "{T1}", "port": 1341, "data_dir": "/srv/a", "name": "Anna", "comment": "x"}},
          {{"token": "{T2}", "port": "1342", "data_dir": "b/../c", "active": false}}]}}""",
        "f",
        BASE,
    )
    assert listing.kind == structured.ROUTER
    assert [facts(one) for one in listing.tenants] == [
        (T1, "Anna", 1341, "/srv/a", True),
        (T2, None, 1342, "/etc/sq/c", False),
    ]


def test_a_bare_list_is_a_router_too() -> None:
    assert facts(found(f'[{{"token": "{T1}", "port": 1}}]')[0]) == (T1, None, 1, None, True)


def test_the_tenants_file() -> None:
    listing = parse(
        f"""{{"tenants": {{"{T1}": {{"name": "a", "data_dir": "/srv/a"}},
        "{T2}": {{"name": "b", "data_dir": "/srv/b"}}}}}}""",
        "f",
        BASE,
    )
    assert listing.kind == structured.TENANTS
    assert [facts(one) for one in listing.tenants] == [
        (T1, "a", None, "/srv/a", True),
        (T2, "b", None, "/srv/b", True),
    ]


def test_one_token_twice_is_not_lost() -> None:
    entries = f'"{T1}": {{"name": "a"}}, "{T1}": {{"name": "b"}}'
    assert [one.name for one in found(f'{{"tenants": {{{entries}}}}}')] == ["a", "b"]


def test_the_one_wished_for() -> None:
    listing = parse(
        f"""{{"admin_key": "secret", "max_tenants": 5, "reload_on_change": true, "tenants": [
        {{"id": "a", "api_key": "{T1}", "data_dir": "/a", "quota_mb": 5, "enabled": true}},
        {{"id": "b", "api_key": "{T2}", "data_dir": "/b", "enabled": false, "email": "e"}}]}}""",
        "f",
        BASE,
    )
    assert [facts(one) for one in listing.tenants] == [
        (T1, "a", None, "/a", True),
        (T2, "b", None, "/b", False),
    ]
    assert listing.tenants[0].quota_mb == 5
    assert len(listing.notes) == 3
    assert "secret" not in repr(listing)


@pytest.mark.parametrize("by_token", [True, False])
def test_what_the_configuration_has_a_key_for_is_taken_over(by_token: bool) -> None:
    one = {"quota_mb": 5, "admin_email": "a@box.example", "tier": "gold", "created_at": None}
    two = {"email": " b@box.example ", "tier": "", "limits": {"rate": 1}, "data_dir": "/b"}
    tenants = (
        {T1: one, T2: two}
        if by_token
        else [{"api_key": T1, "id": "a", **one}, {"token": T2, "name": "b", **two}]
    )
    top = {"default_quota_mb": 500, "max_tenants": 9, "tenants": tenants, "comment": "x"}
    listing = parse(json.dumps(top), "f", BASE)
    assert [(one.token, one.quota_mb, one.admin_email) for one in listing.tenants] == [
        (T1, 5, "a@box.example"),
        (T2, 500, "b@box.example"),
    ]
    *left, quota = listing.notes
    names = ["max_tenants", "comment", "tier", "limits"]
    assert left == [f"{name} is not taken over" for name in names]
    assert "default_quota_mb: 500 MiB" in quota


@pytest.mark.parametrize("email", [5, ["a"], "a\0b", "\ud800", "x" * 321, "a\nb"])
def test_an_address_that_is_none_is_told(email: object) -> None:
    (one,) = found(json.dumps([{"token": T1, "email": email}]))
    assert one.admin_email is None
    assert one.notes == ("its email is no e-mail address, and is not taken over",)


def test_a_default_quota_that_is_none() -> None:
    with pytest.raises(FormatError, match="default_quota_mb must be a whole number"):
        found(f'{{"default_quota_mb": 0, "tenants": [{{"token": "{T1}"}}]}}')
    (one,) = found(f'{{"default_quota_mb": null, "tenants": [{{"token": "{T1}"}}]}}')
    assert one.quota_mb is None


def test_names_of_fields_are_no_flood() -> None:
    entry = {"token": T1, **{f"{number:03}{'x' * 99}": 1 for number in range(99)}}
    notes = parse(json.dumps([entry]), "f", BASE).notes
    assert len(notes) == 21
    assert all(len(note) < 70 for note in notes)
    assert notes[-1] == "79 further fields are not taken over"


def test_the_gateway() -> None:
    listing = parse(
        f"""[gateway]\nlisten_port = 1337\nadmin_key = "secret"\nlog = 1
        [[tenants]]\ntoken = "{T1}"\nname = "a"\nport = 1341\nphext = "notes"\n
        [[tenants]]\ntoken = "{T2}"\nname = "b"\nport = 1342\nregion = "x"\n""",
        "f",
        BASE,
    )
    assert listing.kind == structured.GATEWAY
    assert [facts(one) for one in listing.tenants] == [
        (T1, "a", 1341, None, True),
        (T2, "b", 1342, None, True),
    ]
    assert "notes" in listing.tenants[0].notes[0]
    assert listing.notes[2:] == ("gateway.log is not taken over", "region is not taken over")
    assert "secret" not in repr(listing)


@pytest.mark.parametrize("variable", ["$http_authorization", "$http_x_sq_api_key"])
def test_the_nginx_map(variable: str) -> None:
    listing = parse(
        f"""# tenants
        map {variable} $backend_port {{
            default "";
            "Bearer {T1}"   "1341";   # anna; the first
            'Bearer {T2}' 127.0.0.1:1342;
            # "Bearer gone" "1343";
            {"c" * 40} 1344;
            "~^Bearer x.*$" "1";
        }}
        server {{ listen 80; }}
        """,
        "f",
        BASE,
    )
    assert listing.kind == lines.NGINX
    assert [facts(one) for one in listing.tenants] == [
        (T1, None, 1341, None, True),
        (T2, None, 1342, None, True),
        ("c" * 40, None, 1344, None, True),
    ]
    assert [one.where for one in listing.tenants] == ["f:4", "f:5", "f:7"]
    assert len(listing.notes) == 1


@pytest.mark.parametrize(
    "text",
    [
        f"PORT=1341\nAPI_KEY={T1}\n",
        f"# made\nexport API_KEY=\"{T1}\"\n\nexport PORT='1341'\nOTHER=a=b\n",
        f'API_KEY="{T1}"\r\nPORT="1341"\r\n',
    ],
)
def test_the_environment_file(text: str) -> None:
    listing = parse(text, "/etc/sq/tenants/anna.env", BASE)
    assert listing.kind == lines.SYSTEMD
    assert [facts(one) for one in listing.tenants] == [
        (T1, "anna", 1341, "/var/lib/sq/tenants/anna", True)
    ]


def test_an_environment_file_that_names_its_data() -> None:
    assert str(found(f"API_KEY={T1}\nDATA_DIR=/srv/x\n")[0].data_dir) == "/srv/x"


def test_the_csv() -> None:
    listing = parse(
        "slot,token,name,data_dir,status,purchased_at,customer_email\n"
        f'1,{T1},"Anna, A.",/srv/a,sold,2026-01-02,a@example.org\n'
        "2,,,,available,,\n"
        "\n"
        f"3,{T2},,/srv/b,expired,,\n",
        "f",
        BASE,
    )
    assert listing.kind == lines.CSV
    assert [facts(one) for one in listing.tenants] == [
        (T1, "Anna, A.", None, "/srv/a", True),
        (T2, None, None, "/srv/b", False),
    ]
    assert [one.where for one in listing.tenants] == ["f:2", "f:5"]
    assert listing.notes == (
        "line 3: no token in slot 2, left out",
        "slot is not taken over",
        "purchased_at is not taken over",
    )
    assert [one.admin_email for one in listing.tenants] == ["a@example.org", None]
    assert "expired" in listing.tenants[1].notes[0]


@pytest.mark.parametrize("between", [";", "\t"])
def test_a_csv_of_another_spreadsheet(between: str) -> None:
    text = f"\r\n\r\ntoken,name,data_dir\r\n{T1},a,/srv/a\r\n".replace(",", between)
    (one,) = found(text)
    assert facts(one) == (T1, "a", None, "/srv/a", True)
    assert one.where == "f:4"


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["tenants", "token", "port", "data_dir", "name", "status", "active", "x"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)
PIECES = st.sampled_from(
    [
        "token,name,port\n",
        "map $http_authorization $p {",
        "}",
        '"Bearer x"',
        "[gateway]\n",
        "[[tenants]]\n",
        "token = 'x'\n",
        "API_KEY=",
        "PORT=1\n",
        "'",
        '"',
        ",",
        ";",
        "\n",
        " 1 ",
        "~",
        "\\",
        "#",
    ]
)


@given(VALUES.map(json.dumps) | st.text(max_size=60) | st.lists(PIECES, max_size=12).map("".join))
def test_any_text_is_a_listing_or_a_format_error(text: str) -> None:
    try:
        listing = parse(text, "f", BASE)
    except FormatError:
        return
    assert all(one.port is None or 1 <= one.port <= 65535 for one in listing.tenants)
    assert all(one.data_dir is None or one.data_dir.is_absolute() for one in listing.tenants)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("hello\n", "no format"),
        ("a: 1\n", "no format"),
        ("name,port\nx,1\n", "no format"),
        ('{"tenants": 5}', "list, or a mapping"),
        ('{"x": []}', "no tenants"),
        ('{"tenants": [5]}', r"tenants\[0\] must be an object"),
        ('{"tenants": [', "not JSON"),
        ("[" * 100_000, "JSON|deep"),
        ('[{"token": "a", "token": "b"}]', "token twice"),
        ('[{"token": "a", "port": 0}]', "port must be a whole number from 1 to 65535"),
        ('[{"token": "a", "port": 1.5}]', "port must be"),
        ('[{"token": "a", "port": "99999"}]', "port must be"),
        ('[{"token": "a", "port": true}]', "port must be"),
        ('[{"token": ["a"]}]', "token must be"),
        ('[{"token": "a", "data_dir": "a\\u0000"}]', "data_dir must be a path"),
        ('[{"token": "a", "active": "perhaps"}]', "active must be true or false"),
        ("[[tenants]]\ntoken = 'a\n", "not TOML"),
        ("[tenants]\ntoken = 'a'\n", "must be a list"),
        ('map $http_authorization $p {\n "Bearer a" "1";\n', ":1: the map does not end"),
        ('map $http_authorization $p {\n "Bearer a" "x";\n}', ":2: .*no port"),
        ('map $http_authorization $p {\n "Bearer a b" "1";\n}', ":2: .*no token"),
        ("API_KEY=a\nnothing\n", ":2: "),
        ("API_KEY='a\n", ":1: a quote"),
        ("token,name\na,b,c\n", ":2: has more fields"),
    ],
)
def test_what_cannot_be_read(text: str, told: str) -> None:
    with pytest.raises(FormatError, match=told):
        found(text)


def test_no_error_shows_a_token() -> None:
    for text in (
        f'{{"tenants": {{"{T1}": 5}}}}',
        f'{{"tenants": {{"{T1}": {{"port": "x"}}}}}}',
        f'map $http_authorization $p {{ "Bearer {T1}" "x"; }}',
    ):
        with pytest.raises(FormatError) as caught:
            found(text)
        assert T1 not in str(caught.value)


def test_a_file(here: Path) -> None:
    file = here / "x"
    file.write_bytes(b"\xef\xbb\xbftoken,name\nabc,d\n")
    assert [one.token for one in read(file).tenants] == ["abc"]
    with pytest.raises(FormatError, match="no such file"):
        read(here / "nope")
    with pytest.raises(FormatError, match="is a directory"):
        read(here)
    file.write_text("")
    with pytest.raises(FormatError, match="empty"):
        read(file)
    with pytest.raises(UnknownFormatError):
        parse("x", "f", BASE)
