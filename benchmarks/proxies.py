"""What we replace: nginx and haproxy, configured as one would for tenants of SQ.

Both look the bearer token up in a map, give the backend its key, and keep upstream connections
where the backend can (the real sq ends each after one answer, our engine keeps them).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from benchmarks.peers import KEY, TOKEN, Peer, process, program
from tests.running import free_port
from tests.tls_support import Made

NGINX = """\
daemon off;
worker_processes {workers};
worker_rlimit_nofile 16384;
pid {home}/nginx.pid;
error_log {home}/nginx.log crit;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    client_body_temp_path {home}/body;
    proxy_temp_path {home}/proxy;
    fastcgi_temp_path {home}/fastcgi;
    uwsgi_temp_path {home}/uwsgi;
    scgi_temp_path {home}/scgi;
    client_max_body_size 100m;
    keepalive_requests 100000000;
    keepalive_timeout 600s;
    map $http_authorization $backend {{ default ""; "Bearer {token}" "{backend}"; }}
    upstream kept {{ server 127.0.0.1:{backend}; keepalive 64; keepalive_requests 100000000; }}
    server {{
        listen 127.0.0.1:{port}{ssl};
{certificate}\
        location / {{
            if ($backend = "") {{ return 401; }}
            proxy_http_version 1.1;
            proxy_set_header Authorization "Bearer {key}";
            proxy_set_header Connection "";
{buffering}\
            proxy_pass http://{upstream};
        }}
    }}
}}
"""

CERTIFICATE = """\
        ssl_certificate {certificate};
        ssl_certificate_key {key};
        ssl_protocols TLSv1.2 TLSv1.3;
"""

UNBUFFERED = """\
            proxy_request_buffering off;
            proxy_buffering off;
"""

HAPROXY = """\
global
    nbthread 2
    maxconn 8192
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    timeout http-keep-alive 600s
frontend front
    bind 127.0.0.1:{port}
    http-request set-var(txn.backend) http_auth_bearer,map_str({home}/tokens.map)
    http-request deny deny_status 401 unless {{ var(txn.backend) -m found }}
    use_backend %[var(txn.backend)]
backend tenant
{reuse}    http-request set-header Authorization "Bearer {key}"
    server engine 127.0.0.1:{backend}
"""


@contextlib.contextmanager
def nginx(
    directory: Path,
    backend: Peer,
    *,
    workers: int = 2,
    certificate: Made | None = None,
    buffered: bool = True,
) -> Iterator[Peer]:
    """Run nginx before a backend, over TLS with a `certificate`.

    `buffered` is nginx's default: bodies, both ways, are held before they are passed on.
    """
    path, port = program("nginx"), free_port()
    home = directory / f"nginx-{port}"
    home.mkdir(mode=0o700)
    config = home / "nginx.conf"
    tls = ""
    if certificate is not None:
        tls = CERTIFICATE.format(certificate=certificate.certificate, key=certificate.key)
    config.write_text(
        NGINX.format(
            home=home,
            workers=workers,
            token=TOKEN,
            key=KEY,
            backend=backend.port,
            port=port,
            ssl=" ssl" if tls else "",
            certificate=tls,
            buffering="" if buffered else UNBUFFERED,
            upstream="127.0.0.1:$backend" if backend.closes else "kept",
        )
    )
    command = [path, "-e", str(home / "start.log"), "-c", str(config), "-p", str(home)]
    # Root's nginx would drop to a user that may not use our directory.
    user = ["-g", "user root;"] if os.getuid() == 0 else []
    with process([*command, *user], home, port) as running:
        scheme = "https" if tls else "http"
        yield Peer(port, TOKEN, running, workers=True, scheme=scheme)


@contextlib.contextmanager
def haproxy(directory: Path, backend: Peer) -> Iterator[Peer]:
    """Run haproxy before a backend."""
    path, port = program("haproxy"), free_port()
    home = directory / f"haproxy-{port}"
    home.mkdir(mode=0o700)
    (home / "tokens.map").write_text(f"{TOKEN} tenant\n")
    config = home / "haproxy.cfg"
    # It would use a connection again that the real sq is closing without a word: a 502.
    reuse = "    option http-server-close\n" if backend.closes else "    http-reuse always\n"
    text = HAPROXY.format(home=home, key=KEY, backend=backend.port, port=port, reuse=reuse)
    config.write_text(text)
    with process([path, "-db", "-f", str(config)], home, port) as running:
        yield Peer(port, TOKEN, running)
