# ruff: noqa: E501 - each line that is told stands whole
"""Broken files, each with the one exact line that tells what is wrong."""

from __future__ import annotations

from typing import NamedTuple


class Case(NamedTuple):
    """`told` stands behind the file's name; `{dir}` in it is the file's directory."""

    name: str
    text: str
    told: str


YAML = (
    Case(
        "not-yaml",
        "gateway:\n  listen: [\n",
        ":2: not valid YAML: while parsing a flow node, did not find expected node content",
    ),
    Case(
        "tab-indent",
        "gateway:\n\tworkers: 1\n",
        ":2: not valid YAML: while scanning for the next token, found character that cannot start any token",
    ),
    Case(
        "bad-indent",
        "gateway:\n  workers: 1\n listen: []\n",
        ":3: not valid YAML: while parsing a block mapping, did not find expected key",
    ),
    Case("list-at-top", "- gateway\n", ':1: must hold keys and values; such as "tenants: {}"'),
    Case("scalar-at-top", "\n\nhello\n", ':3: must hold keys and values; such as "tenants: {}"'),
    Case(
        "two-docs",
        "tenants: {}\n---\ntenants: {}\n",
        ":2: a second document begins here; keep one document in a file",
    ),
    Case(
        "python-tag",
        "tenants:\n  a: !!python/object/apply:os.system [id]\n",
        ":2: tenants.a: tags (!name) are not allowed; write the value without one",
    ),
    Case(
        "str-tag",
        "data_root: !!str x\n",
        ":1: data_root: tags (!name) are not allowed; write the value without one",
    ),
    Case(
        "bang",
        "data_root: ! x\n",
        ":1: data_root: tags (!name) are not allowed; write the value without one",
    ),
    Case(
        "anchor",
        "tenants: &t {}\n",
        ":1: tenants: anchors (&name) are not allowed; write the value out",
    ),
    Case(
        "alias",
        "data_root: x\nrun_dir: *x\n",
        ":2: run_dir: aliases (*name) are not allowed; write the value out",
    ),
    Case(
        "merge",
        "defaults:\n  <<: {drain: 1s}\n",
        ":2: defaults: merge keys (<<) are not allowed; write the keys out",
    ),
    Case(
        "dup",
        "gateway:\n  workers: 1\n  workers: 2\n",
        ":3: gateway.workers: the key is already on line 2; keep one of them",
    ),
    Case(
        "dup-escaped",
        'tenants:\n  alice: {}\n  "\\u0061lice": {}\n',
        ":3: tenants.alice: the key is already on line 2; keep one of them",
    ),
    Case(
        "dup-nested",
        "defaults:\n  health: {interval: 1s, timeout: 1s, interval: 2s}\n",
        ":2: defaults.health.interval: the key is already on line 2; keep one of them",
    ),
    Case(
        "complex-key", "? [a, b]\n: 1\n", ":1: a key must be a single word, not a list or mapping"
    ),
    Case("null-key", "~: 1\n", ':1: "~": YAML reads the key ~ as null; quote it: "~"'),
    Case(
        "number-name",
        "tenants:\n  1234: {}\n",
        ':2: tenants.1234: YAML reads the key 1234 as a number; quote it: "1234"',
    ),
    Case(
        "date-name",
        "tenants:\n  2024-01-01: {}\n",
        ':2: tenants.2024-01-01: YAML reads the key 2024-01-01 as a date or time; quote it: "2024-01-01"',
    ),
    Case(
        "bool-name",
        "tenants:\n  no: {}\n",
        ':2: tenants.no: YAML reads the key no as a boolean; quote it: "no"',
    ),
    Case(
        "null-name",
        "tenants:\n  null: {}\n",
        ':2: tenants.null: YAML reads the key null as null; quote it: "null"',
    ),
    Case(
        "float-name",
        "tenants:\n  1.5: {}\n",
        ':2: tenants."1.5": YAML reads the key 1.5 as a number with a fraction; quote it: "1.5"',
    ),
    Case(
        "octal-name",
        "tenants:\n  0777: {}\n",
        ':2: tenants.0777: YAML reads the key 0777 as a number; quote it: "0777"',
    ),
    Case(
        "sexagesimal",
        "tenants:\n  12:30:00: {}\n",
        ':2: tenants."12:30:00": YAML reads the key 12:30:00 as a number; quote it: "12:30:00"',
    ),
    Case(
        "upper-name",
        "tenants:\n  Alice: {}\n",
        ":2: tenants.Alice: a tenant's name is 1 to 63 of a-z 0-9 - _ . beginning with a letter or digit",
    ),
    Case(
        "dot-name",
        "tenants:\n  .a: {}\n",
        ':2: tenants.".a": a tenant\'s name is 1 to 63 of a-z 0-9 - _ . beginning with a letter or digit',
    ),
    Case(
        "token-name",
        "tenants:\n  pmb-v1-0123456789abcdef0123456789abcdef: {name: x}\n",
        ":2: tenants.pmb-v1-...: a tenant's name is shown in logs and pages, so never a token",
    ),
    Case(
        "nul-escape",
        'data_root: "a\\0b"\n',
        ":1: data_root: must be a path, without NUL and unpaired surrogates",
    ),
    Case("unknown-top", "gatewy: {}\n", ":1: gatewy: unknown key; did you mean gateway?"),
    Case(
        "unknown-far",
        "zzz: 1\n",
        ":1: zzz: unknown key; the keys here are admin, backup, data_root, defaults, gateway, host_memory, include, log, on_event, port_range, run_dir, spawn_concurrency, tenants, token_overlap",
    ),
    Case(
        "unknown-nested",
        "gateway:\n  idle_timout: 5s\n",
        ":2: gateway.idle_timout: unknown key; did you mean idle_timeout?",
    ),
    Case(
        "unknown-tenant",
        "tenants:\n  a:\n    token: pmb-v1-0123456789abcdef0123456789abcdef\n",
        ":3: tenants.a.token: unknown key; did you mean tokens?",
    ),
    Case(
        "unknown-health",
        "defaults:\n  health: {intervall: 1s}\n",
        ":2: defaults.health.intervall: unknown key; did you mean interval?",
    ),
    Case(
        "section-null",
        "gateway:\n",
        ":1: gateway: must be a mapping (keys and values), not null; remove the key, or write {}",
    ),
    Case(
        "section-list",
        "gateway: []\n",
        ":1: gateway: must be a mapping (keys and values), not a list",
    ),
    Case(
        "tenant-null",
        "tenants:\n  a:\n",
        ":2: tenants.a: must be a mapping of the tenant's keys, not null; remove the key, or write {}",
    ),
    Case(
        "tenants-list",
        "tenants: [a]\n",
        ":1: tenants: must be a mapping of names to tenants, not a list",
    ),
    Case(
        "tenant-text",
        "tenants:\n  a: pmb-v1-0123\n",
        ":2: tenants.a: must be a mapping of the tenant's keys, not text",
    ),
    Case(
        "int-text",
        'gateway: {workers: "2"}\n',
        ':1: gateway.workers: must be a whole number from 1 to 1024, not "2"',
    ),
    Case(
        "int-bool",
        "gateway: {workers: yes}\n",
        ":1: gateway.workers: must be a whole number from 1 to 1024, not yes",
    ),
    Case(
        "int-zero",
        "gateway: {workers: 0}\n",
        ":1: gateway.workers: must be a whole number from 1 to 1024, not 0",
    ),
    Case(
        "int-float",
        "gateway: {workers: 1.0}\n",
        ":1: gateway.workers: must be a whole number from 1 to 1024, not 1.0",
    ),
    Case(
        "int-hex",
        "gateway: {workers: 0x10}\n",
        ":1: gateway.workers: must be a whole number from 1 to 1024 in plain decimal digits, not 0x10",
    ),
    Case(
        "int-octal",
        "gateway: {workers: 010}\n",
        ":1: gateway.workers: must be a whole number from 1 to 1024 in plain decimal digits, not 010",
    ),
    Case(
        "int-null",
        "gateway: {workers: null}\n",
        ":1: gateway.workers: must be a whole number from 1 to 1024, not null",
    ),
    Case(
        "int-none",
        "gateway: {workers: none}\n",
        ':1: gateway.workers: must be a whole number from 1 to 1024, not "none"',
    ),
    Case(
        "int-huge",
        "gateway: {workers: 99999999999999999999999999999999999999}\n",
        ":1: gateway.workers: must be a whole number from 1 to 1024 in plain decimal digits, not 99999999999999999999999999999999999999",
    ),
    Case(
        "dur-unit",
        "gateway: {idle_timeout: 5min}\n",
        ':1: gateway.idle_timeout: must be a number of seconds, or 100ms, 5s, 15m, 1h, not "5min"',
    ),
    Case(
        "dur-neg",
        "gateway: {idle_timeout: -5}\n",
        ":1: gateway.idle_timeout: must be a number of seconds, or 100ms, 5s, 15m, 1h, not -5",
    ),
    Case(
        "dur-neg2",
        "gateway: {idle_timeout: -5s}\n",
        ':1: gateway.idle_timeout: must be a number of seconds, or 100ms, 5s, 15m, 1h, not "-5s"',
    ),
    Case(
        "dur-nan",
        "gateway: {idle_timeout: .nan}\n",
        ":1: gateway.idle_timeout: must be a number of seconds, or 100ms, 5s, 15m, 1h, not .nan",
    ),
    Case(
        "dur-inf",
        "gateway: {idle_timeout: .inf}\n",
        ":1: gateway.idle_timeout: must be a number of seconds, or 100ms, 5s, 15m, 1h, not .inf",
    ),
    Case(
        "dur-abs",
        "gateway: {idle_timeout: 999999999h}\n",
        ':1: gateway.idle_timeout: must be at most ten years (87840h), not "999999999h"',
    ),
    Case(
        "dur-bool",
        "gateway: {idle_timeout: on}\n",
        ":1: gateway.idle_timeout: must be a number of seconds, or 100ms, 5s, 15m, 1h, not on",
    ),
    Case(
        "dur-zero",
        "gateway: {idle_timeout: 0}\n",
        ":1: gateway.idle_timeout: must be 1ms or more: a number of seconds, or 100ms, 5s, 15m, 1h, not 0",
    ),
    Case(
        "dur-never",
        "gateway: {idle_timeout: never}\n",
        ':1: gateway.idle_timeout: must be a number of seconds, or 100ms, 5s, 15m, 1h, not "never"',
    ),
    Case(
        "dur-null",
        "gateway:\n  idle_timeout:\n",
        ":2: gateway.idle_timeout: must be a number of seconds, or 100ms, 5s, 15m, 1h, not null",
    ),
    Case(
        "dur-list",
        "gateway: {idle_timeout: [5s]}\n",
        ":1: gateway.idle_timeout: must be a number of seconds, or 100ms, 5s, 15m, 1h, not a list",
    ),
    Case(
        "dur-quoted",
        'gateway: {idle_timeout: "5"}\n',
        ':1: gateway.idle_timeout: must be a number of seconds, or 100ms, 5s, 15m, 1h, not "5"',
    ),
    Case(
        "dur-sexa",
        "gateway: {idle_timeout: 1:30}\n",
        ":1: gateway.idle_timeout: must be a number of seconds, or 100ms, 5s, 15m, 1h, not 1:30",
    ),
    Case(
        "size-unit",
        "log: {max_bytes: 10MB}\n",
        ':1: log.max_bytes: must be a number of bytes, or 64K, 512M, 2G, not "10MB"',
    ),
    Case(
        "size-neg",
        "log: {max_bytes: -1}\n",
        ":1: log.max_bytes: must be a number of bytes, or 64K, 512M, 2G, not -1",
    ),
    Case(
        "size-frac",
        "log: {max_bytes: 1.5}\n",
        ":1: log.max_bytes: must be a number of bytes, or 64K, 512M, 2G, not 1.5",
    ),
    Case(
        "size-bool",
        "log: {max_bytes: true}\n",
        ":1: log.max_bytes: must be a number of bytes, or 64K, 512M, 2G, not true",
    ),
    Case(
        "fraction",
        "host_memory: {stop_idle: 15}\n",
        ":1: host_memory.stop_idle: must be a share such as 15%, not 15",
    ),
    Case(
        "fraction2",
        "host_memory: {stop_idle: 150%}\n",
        ':1: host_memory.stop_idle: must be a share such as 15%, not "150%"',
    ),
    Case(
        "jitter",
        "defaults: {restart: {jitter: 2}}\n",
        ":1: defaults.restart.jitter: must be a number from 0 to 1, not 2",
    ),
    Case(
        "enum",
        "defaults: {engine: docker}\n",
        ':1: defaults.engine: must be one of embedded, command, not "docker"',
    ),
    Case(
        "bool",
        'tenants: {a: {enabled: "yes"}}\n',
        ':1: tenants.a.enabled: must be true or false, not "yes"',
    ),
    Case(
        "port",
        "tenants: {a: {port: 70000}}\n",
        ":1: tenants.a.port: must be a whole number from 1 to 65535, not 70000",
    ),
    Case(
        "port-range",
        "port_range: 7999-7001\n",
        ':1: port_range: must be two ports from 1 to 65535, the lower one first, not "7999-7001"',
    ),
    Case(
        "port-range2",
        "port_range: 7001\n",
        ':1: port_range: must be two ports such as 7001-7999, but 7001 is read as a number; quote it: "7001"',
    ),
    Case(
        "ep-none",
        "gateway: {listen: []}\n",
        ':1: gateway.listen: must be a list of endpoints such as ["tcp:1337:interface=127.0.0.1"], and is empty',
    ),
    Case(
        "ep-str",
        'gateway: {listen: "tcp:1"}\n',
        ':1: gateway.listen: must be a list of endpoints such as ["tcp:1337:interface=127.0.0.1"], not text',
    ),
    Case(
        "ep-unknown",
        'gateway: {listen: ["foo:1"]}\n',
        ":1: gateway.listen[0]: must be an endpoint that Twisted takes (Unknown endpoint type: 'foo'), not \"foo:1\"",
    ),
    Case(
        "ep-port",
        'gateway: {listen: ["tcp:99999"]}\n',
        ':1: gateway.listen[0]: must be an endpoint with a port up to 65535, such as "tcp:1337", not "tcp:99999"',
    ),
    Case(
        "ep-noport",
        'gateway: {listen: ["tcp:http"]}\n',
        ':1: gateway.listen[0]: must be an endpoint with a port up to 65535, such as "tcp:1337", not "tcp:http"',
    ),
    Case(
        "ep-int",
        "gateway: {listen: [1337]}\n",
        ':1: gateway.listen[0]: must be an endpoint such as "tcp:1337:interface=127.0.0.1", but 1337 is read as a number; quote it: "1337"',
    ),
    Case(
        "ep-ssl",
        'gateway: {listen: ["ssl:8443:privateKey=key.pem:certKey=cert.pem"]}\n',
        ':1: gateway.listen[0]: must be an endpoint whose certificate can be used (No such file or directory: {dir}/cert.pem), not "ssl:8443:privateKey=key.pem:certKey=c..."',
    ),
    Case(
        "ep-ssl-admin",
        'admin: {listen: ["ssl:8443:privateKey=key.pem:certKey=cert.pem"]}\n',
        ':1: admin.listen[0]: must be an endpoint whose files can be read (No such file or directory: {dir}/cert.pem), not "ssl:8443:privateKey=key.pem:certKey=c..."',
    ),
    Case(
        "ep-arg",
        'gateway: {listen: ["tcp:1:foo=2"]}\n',
        ':1: gateway.listen[0]: must be an endpoint whose arguments Twisted knows, not "tcp:1:foo=2"',
    ),
    Case(
        "ep-empty",
        'gateway: {listen: [""]}\n',
        ':1: gateway.listen[0]: must be an endpoint such as "tcp:1337:interface=127.0.0.1", and is empty',
    ),
    Case(
        "net",
        "gateway: {trusted_proxies: [10.0.0.1/8]}\n",
        ':1: gateway.trusted_proxies[0]: must be 10.0.0.0/8 (no bits set beyond the prefix), not "10.0.0.1/8"',
    ),
    Case(
        "net2",
        "gateway: {trusted_proxies: [proxy]}\n",
        ':1: gateway.trusted_proxies[0]: must be an address or network such as 10.0.0.0/8 or fd00::/8, not "proxy"',
    ),
    Case(
        "at",
        "backup: {at: 13:30}\n",
        ':1: backup.at: must be a time of day such as "03:30", but 13:30 is read as a number; quote it: "13:30"',
    ),
    Case(
        "at2",
        'backup: {at: "25:00"}\n',
        ':1: backup.at: must be a time of day such as "03:30", not "25:00"',
    ),
    Case(
        "cmd-str",
        'defaults: {command: "sq host"}\n',
        ':1: defaults.command: must be a list of arguments such as ["sq", "host", "{port}", "--key", "{key}"], not text',
    ),
    Case(
        "cmd-ph",
        'defaults: {command: ["sq", "{prot}"]}\n',
        ":1: defaults.command[1]: unknown placeholder {prot}; known are {port} {key} {data_dir} {name}",
    ),
    Case(
        "cmd-missing",
        "tenants:\n  a:\n    engine: command\n",
        ':3: tenants.a.command: is missing, and engine: command needs it; give a list of arguments such as ["sq", "host", "{port}", "--key", "{key}"]',
    ),
    Case(
        "cmd-empty",
        "defaults: {command: []}\n",
        ':1: defaults.command: must be a list of arguments such as ["sq", "host", "{port}", "--key", "{key}"], and is empty',
    ),
    Case(
        "cmd-int",
        "defaults: {command: [sq, 80]}\n",
        ":1: defaults.command[1]: must be text, but this is read as a number; quote it",
    ),
    Case(
        "env",
        "defaults: {environment: {PATH: /bin}}\n",
        ":1: defaults.environment.PATH: this variable is set by sqsuper or would change how the child starts; choose another name",
    ),
    Case(
        "env2",
        "defaults: {environment: {SQSUPER_X: a}}\n",
        ":1: defaults.environment.SQSUPER_X: this variable is set by sqsuper or would change how the child starts; choose another name",
    ),
    Case(
        "env3",
        "defaults: {environment: {A: 1}}\n",
        ":1: defaults.environment.A: must be text, but this is read as a number; quote it",
    ),
    Case(
        "env4",
        'defaults: {environment: {"A=B": a}}\n',
        ':1: defaults.environment."A=B": is no variable\'s name; use letters, digits and _',
    ),
    Case(
        "env5",
        "defaults: {environment: {LD_PRELOAD: a}}\n",
        ":1: defaults.environment.LD_PRELOAD: this variable is set by sqsuper or would change how the child starts; choose another name",
    ),
    Case(
        "user",
        "defaults: {user: no-such-user-here}\n",
        ":1: defaults.user: no user no-such-user-here on this machine; create it or name another",
    ),
    Case(
        "rate",
        "defaults: {rate: {per_second: 5}}\n",
        ":1: defaults.rate: burst is missing; such as {per_second: 50, burst: 100}",
    ),
    Case(
        "rate2",
        "defaults: {rate: 5}\n",
        ":1: defaults.rate: must be a mapping such as {per_second: 50, burst: 100}, not a number",
    ),
    Case(
        "tok-int",
        "tenants:\n  a:\n    tokens:\n      - 1234\n",
        ":4: tenants.a.tokens[0]: must be a token, but this is read as a number; quote it",
    ),
    Case(
        "tok-date",
        "tenants: {a: {tokens: [2024-01-01]}}\n",
        ":1: tenants.a.tokens[0]: must be a token, but this is read as a date or time; quote it",
    ),
    Case(
        "tok-space",
        'tenants: {a: {tokens: ["a b"]}}\n',
        ":1: tenants.a.tokens[0]: a token is 1 to 512 bytes of 0x21-0x7E (no blanks)",
    ),
    Case(
        "tok-str",
        "tenants: {a: {tokens: secret}}\n",
        ":1: tenants.a.tokens: must be a list of tokens, not text",
    ),
    Case(
        "sha-short",
        "tenants: {a: {token_sha256: [abc]}}\n",
        ":1: tenants.a.token_sha256[0]: must be 64 hex digits, the SHA-256 of the token",
    ),
    Case(
        "sha-token",
        "tenants: {a: {token_sha256: [pmb-v1-0123456789abcdef0123456789abcdef]}}\n",
        ":1: tenants.a.token_sha256[0]: must be 64 hex digits, the SHA-256 of the token",
    ),
    Case(
        "tok-map",
        "tenants: {a: {token_sha256: [{label: x}]}}\n",
        ":1: tenants.a.token_sha256[0]: sha256 is missing; give the SHA-256 of the token",
    ),
    Case(
        "tok-scope",
        "tenants: {a: {token_sha256: [{sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, scope: rx}]}}\n",
        ':1: tenants.a.token_sha256[0].scope: must be one of rw, ro, not "rx"',
    ),
    Case(
        "tok-exp",
        "tenants: {a: {token_sha256: [{sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, expires: 2027-01-01}]}}\n",
        ':1: tenants.a.token_sha256[0].expires: must be a time with its zone, such as "2027-01-01T00:00:00Z", not 2027-01-01',
    ),
    Case(
        "tok-exp2",
        'tenants: {a: {token_sha256: [{sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, expires: "2027-13-01T00:00:00Z"}]}}\n',
        ':1: tenants.a.token_sha256[0].expires: must be a time with its zone, such as "2027-01-01T00:00:00Z", not "2027-13-01T00:00:00Z"',
    ),
    Case(
        "tok-order",
        "tenants: {a: {token_sha256: [{sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, not_before: 2027-01-02T00:00:00Z, expires: 2027-01-01T00:00:00Z}]}}\n",
        ":1: tenants.a.token_sha256[0]: expires is not after not_before; swap or drop one of them",
    ),
    Case(
        "dup-token",
        "tenants:\n  a:\n    token_sha256: [aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\n  b:\n    token_sha256: [AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA]\n",
        ":5: tenants.b.token_sha256[0]: the token (sha256 aaaaaaaa...) is already a's",
    ),
    Case(
        "dup-token-self",
        "tenants:\n  a:\n    token_sha256: [aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa]\n",
        ":3: tenants.a.token_sha256[1]: the token (sha256 aaaaaaaa...) is already a's",
    ),
    Case(
        "dup-port",
        "tenants:\n  alice: {port: 7001}\n  bob:\n    port: 7001\n",
        ":4: tenants.bob.port: 7001 is already alice's",
    ),
    Case(
        "port-gw",
        "tenants:\n  a: {port: 1337}\n",
        ":2: tenants.a.port: 1337 is already gateway.listen[0]'s",
    ),
    Case(
        "port-admin",
        "tenants:\n  a: {port: 1338}\n",
        ":2: tenants.a.port: 1338 is already admin.listen[0]'s",
    ),
    Case(
        "gw-admin",
        'admin: {listen: ["tcp:1337"]}\n',
        ":1: admin.listen[0]: 1337 is already gateway.listen[0]'s",
    ),
    Case(
        "dup-dir",
        "tenants:\n  a: {data_dir: x}\n  b: {data_dir: ./y/../x}\n",
        ":3: tenants.b.data_dir: {dir}/y/../x is already a's",
    ),
    Case(
        "dir-nested",
        "tenants:\n  a: {data_dir: x}\n  b: {data_dir: x/y}\n",
        ":3: tenants.b.data_dir: {dir}/x/y is inside a's {dir}/x; name a directory of its own",
    ),
    Case(
        "dir-nested2",
        "tenants:\n  b: {data_dir: x/y}\n  a: {data_dir: x}\n",
        ":2: tenants.b.data_dir: {dir}/x/y is inside a's {dir}/x; name a directory of its own",
    ),
    Case(
        "dir-root",
        "tenants:\n  a: {data_dir: data}\n",
        ":2: tenants.a.data_dir: {dir}/data holds data_root, where other tenants' data goes; name a directory of its own",
    ),
    Case(
        "dir-run",
        "tenants:\n  a: {data_dir: run}\n",
        ":2: tenants.a.data_dir: {dir}/run and run_dir hold one another; name a directory of its own",
    ),
    Case(
        "admin-two",
        "admin: {token_sha256: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, token_file: x}\n",
        ":1: admin.token_file: token_sha256 is given too; keep one of them",
    ),
    Case(
        "admin-file",
        "admin: {token_file: nope}\n",
        ":1: admin.token_file: {dir}/nope no such file; check the path",
    ),
    Case(
        "admin-num",
        "admin: {token: 123}\n",
        ":1: admin.token: must be a token, but this is read as a number; quote it",
    ),
    Case(
        "run-long",
        "run_dir: /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\n",
        ":1: run_dir: /xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx is 9 bytes too long for the sockets in it; name a directory of at most 82 bytes",
    ),
    Case(
        "inc-up",
        'include: ["../*.yaml"]\n',
        ":1: include[0]: included files stand below the configuration's own directory; give a pattern such as tenants.d/*.yaml",
    ),
    Case(
        "inc-abs",
        "include: [/etc/*.yaml]\n",
        ":1: include[0]: included files stand below the configuration's own directory; give a pattern such as tenants.d/*.yaml",
    ),
    Case(
        "hosts",
        'admin: {hosts: ["a:80"]}\n',
        ':1: admin.hosts[0]: must be a host name or address without a port, not "a:80"',
    ),
)

JSON = (
    Case("cut", '{"gateway": {', ":1: not valid JSON: expected a key in double quotes"),
    Case(
        "trailing-comma",
        '{"tenants": {},\n}',
        ":2: not valid JSON: expected a key in double quotes",
    ),
    Case("comment", "{} // x", ":1: not valid JSON: something follows the end of the document"),
    Case("single-quotes", "{'a': 1}", ":1: not valid JSON: expected a key in double quotes"),
    Case("nan", '{"token_overlap":\n NaN}', ":2: not valid JSON: expected a value"),
    Case("infinity", '{"token_overlap": -Infinity}', ":1: not valid JSON: expected a value"),
    Case(
        "big-exponent",
        '{"token_overlap": 1e999}',
        ":1: token_overlap: must be a number of seconds, or 100ms, 5s, 15m, 1h, not 1e999",
    ),
    Case("two-values", "{}\n{}", ":2: not valid JSON: something follows the end of the document"),
    Case("list", "[]", ':1: must hold keys and values; such as "tenants: {}"'),
    Case("text", '"x"', ':1: must hold keys and values; such as "tenants: {}"'),
    Case("bare-key", "{a: 1}", ":1: not valid JSON: expected a key in double quotes"),
    Case(
        "dup",
        '{\n "data_root": "a",\n "data_root": "b"\n}',
        ":3: data_root: the key is already on line 2; keep one of them",
    ),
    Case(
        "dup-escaped",
        '{"tenants": {"alice": {},\n "\\u0061lice": {}}}',
        ":2: tenants.alice: the key is already on line 1; keep one of them",
    ),
    Case("deep", '{"tenants": ' + "[" * 40 + "]" * 40 + "}", ":1: nested more than 32 deep"),
    Case(
        "control-in-text", '{"data_root": "a\nb"}', ":1: not valid JSON: Invalid control character"
    ),
    Case(
        "nul",
        '{"data_root":\n "a\\u0000b"}',
        ":2: data_root: must be a path, without NUL and unpaired surrogates",
    ),
    Case(
        "half-surrogate",
        '{"data_root": "\\ud800"}',
        ":1: data_root: must be a path, without NUL and unpaired surrogates",
    ),
    Case("leading-zero", '{"gateway": {"workers": 01}}', ":1: not valid JSON: expected ',' or '}'"),
    Case(
        "int-text",
        '{\n "gateway": {\n  "workers": "2"\n }\n}',
        ':3: gateway.workers: must be a whole number from 1 to 1024, not "2"',
    ),
    Case(
        "float",
        '{"gateway": {"workers": 1.0}}',
        ":1: gateway.workers: must be a whole number from 1 to 1024, not 1.0",
    ),
    Case(
        "exponent",
        '{"gateway": {"workers": 1e1}}',
        ":1: gateway.workers: must be a whole number from 1 to 1024, not 1e1",
    ),
    Case(
        "huge",
        '{"gateway": {"workers": ' + "9" * 6000 + "}}",
        ":1: gateway.workers: must be a whole number from 1 to 1024 in plain decimal digits, not 9999999999999999999999999999999999999...",
    ),
    Case(
        "bool",
        '{"gateway": {"workers": true}}',
        ":1: gateway.workers: must be a whole number from 1 to 1024, not true",
    ),
    Case(
        "null",
        '{"gateway": {"workers": null}}',
        ":1: gateway.workers: must be a whole number from 1 to 1024, not null",
    ),
    Case(
        "unknown",
        '{"gateway":\n {"idle_timout": 5}}',
        ":2: gateway.idle_timout: unknown key; did you mean idle_timeout?",
    ),
    Case(
        "unit",
        '{"gateway": {"idle_timeout": "5min"}}',
        ':1: gateway.idle_timeout: must be a number of seconds, or 100ms, 5s, 15m, 1h, not "5min"',
    ),
    Case(
        "token-number",
        '{"tenants": {"a": {"tokens": [\n1234]}}}',
        ":2: tenants.a.tokens[0]: must be a token, but this is read as a number; quote it",
    ),
    Case(
        "name",
        '{"tenants": {"A": {}}}',
        ":1: tenants.A: a tenant's name is 1 to 63 of a-z 0-9 - _ . beginning with a letter or digit",
    ),
    Case(
        "port",
        '{"tenants": {\n"alice": {"port": 7001},\n"bob": {"port": 7001}}}',
        ":3: tenants.bob.port: 7001 is already alice's",
    ),
    Case(
        "empty-name",
        '{"tenants": {"": {}}}',
        ':1: tenants."": a tenant\'s name is 1 to 63 of a-z 0-9 - _ . beginning with a letter or digit',
    ),
)

TOML = (
    Case("cut", "[gateway\n", ":1: not valid TOML: Expected ']' at the end of a table declaration"),
    Case("value", "\nworkers = \n", ":2: not valid TOML: Invalid value"),
    Case("unquoted", "data_root = x\n", ":1: not valid TOML: Invalid value"),
    Case(
        "dup", 'data_root = "a"\ndata_root = "b"\n', ":2: not valid TOML: Cannot overwrite a value"
    ),
    Case(
        "dup-table",
        "[gateway]\n[gateway]\n",
        ":2: not valid TOML: Cannot declare ('gateway',) twice",
    ),
    Case("end", 'data_root = "a', ":1: not valid TOML: Unterminated string (at end of document)"),
    Case("deep", "tenants = " + "[" * 40 + "]" * 40 + "\n", ": nested more than 32 deep"),
    Case(
        "very-deep", "tenants = " + "[" * 20000 + "]" * 20000 + "\n", ": nested more than 32 deep"
    ),
    Case(
        "deep-keys",
        "a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a.a = 1\n",
        ": nested more than 32 deep",
    ),
    Case(
        "huge", "data_root = " + "9" * 6000 + "\n", ": not valid TOML: a number has too many digits"
    ),
    Case(
        "huge-int",
        "[gateway]\nworkers = 999999999999999999999999999999999999999999999999999999999999\n",
        ": gateway.workers: must be a whole number from 1 to 1024 in plain decimal digits, not a number",
    ),
    Case(
        "int-text",
        '[gateway]\nworkers = "2"\n',
        ': gateway.workers: must be a whole number from 1 to 1024, not "2"',
    ),
    Case(
        "float",
        "[gateway]\nworkers = 1.0\n",
        ": gateway.workers: must be a whole number from 1 to 1024, not 1.0",
    ),
    Case(
        "bool",
        "[gateway]\nworkers = true\n",
        ": gateway.workers: must be a whole number from 1 to 1024, not true",
    ),
    Case(
        "nan",
        "[gateway]\nidle_timeout = nan\n",
        ": gateway.idle_timeout: must be a number of seconds, or 100ms, 5s, 15m, 1h, not nan",
    ),
    Case(
        "inf",
        "token_overlap = inf\n",
        ": token_overlap: must be a number of seconds, or 100ms, 5s, 15m, 1h, not inf",
    ),
    Case(
        "unknown",
        "[gateway]\nidle_timout = 5\n",
        ": gateway.idle_timout: unknown key; did you mean idle_timeout?",
    ),
    Case(
        "unit",
        '[gateway]\nidle_timeout = "5min"\n',
        ': gateway.idle_timeout: must be a number of seconds, or 100ms, 5s, 15m, 1h, not "5min"',
    ),
    Case(
        "token-number",
        "[tenants.a]\ntokens = [1234]\n",
        ": tenants.a.tokens[0]: must be a token, but this is read as a number; quote it",
    ),
    Case(
        "token-date",
        "[tenants.a]\ntokens = [2024-01-01]\n",
        ": tenants.a.tokens[0]: must be a token, but this is read as a date or time; quote it",
    ),
    Case(
        "name",
        "[tenants.A]\n",
        ": tenants.A: a tenant's name is 1 to 63 of a-z 0-9 - _ . beginning with a letter or digit",
    ),
    Case(
        "port",
        "[tenants.alice]\nport = 7001\n[tenants.bob]\nport = 7001\n",
        ": tenants.bob.port: 7001 is already alice's",
    ),
    Case(
        "array-of-tables",
        '[[tenants]]\nname = "a"\n',
        ": tenants: must be a mapping of names to tenants, not a list",
    ),
    Case(
        "local-time",
        '[tenants.a]\ntoken_sha256 = [{sha256 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", expires = 2027-01-01T00:00:00}]\n',
        ': tenants.a.token_sha256[0].expires: must be a time with its zone, such as "2027-01-01T00:00:00Z", not 2027-01-01T00:00:00',
    ),
    Case(
        "clock",
        "[backup]\nat = 03:30:00\n",
        ': backup.at: must be a time of day such as "03:30", but 03:30:00 is read as a date or time; quote it: "03:30:00"',
    ),
)
