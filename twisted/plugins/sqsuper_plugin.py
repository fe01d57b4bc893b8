"""Makes `twistd sqsuper` known to twistd."""

from twisted.application.service import ServiceMaker

sqsuper = ServiceMaker(
    "sqsuper",
    "sqsuper.tap",
    "Supervisor and authenticating proxy for SQ, the phext database.",
    "sqsuper",
)
