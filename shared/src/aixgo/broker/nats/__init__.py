"""The NATS broker: nats-py for connecting and reconnecting, our own everything else.

`connection.py` keeps one connection alive; `link.py` says how the rest talks over it, which
`_fastpath.py` and `plain.py` do; `replies.py` asks; `appends.py`, `pull.py`, `reads.py` and
`follow.py` are the log; `streams.py` declares; `wire.py`, `configs.py` and `refusals.py` translate.
"""

from aixgo.broker.nats._light import import_client
from aixgo.errors import MissingExtra

try:
    import_client()
except ImportError as error:
    raise MissingExtra("the NATS broker", "nats") from error

from aixgo.broker.nats.broker import NatsBroker

__all__ = ["NatsBroker"]
