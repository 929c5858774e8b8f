"""Ways to break a memory server on purpose, so that crash tests run in milliseconds."""

from __future__ import annotations

from aixgo.broker.memory.roles import Breakable, Cuttable


class Faults:
    """What goes wrong next. Nothing does until it is asked for.

    Attributes:
        lost_publish_acks: how many answers to appends are still to be lost.
        lost_acks: how many answers to deliveries are still to be lost.
        duplicates: how many deliveries are still to be made twice.
        delivery_delay: seconds between a delivery and the start of its handler.
        paused: whether the server reads and sends nothing.
    """

    def __init__(self, server: Breakable) -> None:
        self._server = server
        self.lost_publish_acks = 0
        self.lost_acks = 0
        self.duplicates = 0
        self.delivery_delay = 0.0
        self.paused = False

    def drop_publish_acks(self, count: int = 1) -> None:
        """Store the next `count` appends, but lose the answer, so that each is repeated."""
        self.lost_publish_acks = count
        self._server.refresh_links()

    def drop_acks(self, count: int = 1) -> None:
        """Lose the next `count` answers to deliveries; confirmed ones are repeated."""
        self.lost_acks = count
        self._server.refresh_links()

    def duplicate_deliveries(self, count: int = 1) -> None:
        """Deliver the next `count` deliveries a second time, as a server does after a crash."""
        self.duplicates = count

    def delay_deliveries(self, seconds: float) -> None:
        """Let deliveries of consumers travel for this time; the ack wait runs meanwhile."""
        self.delivery_delay = seconds

    def disconnect(self, connection: Cuttable, seconds: float | None = None) -> None:
        """Cut a connection, for `seconds` or until `reconnect`."""
        connection.cut()
        if seconds is not None:
            self._server.loop.call_later(seconds, connection.restore)

    def reconnect(self, connection: Cuttable) -> None:
        """Bring a cut connection back; nothing happens if it is up or closed."""
        connection.restore()

    def pause(self) -> None:
        """Freeze the server: nothing is read, sent or delivered until `resume`."""
        self.paused = True
        self._server.freeze(True)
        self._server.refresh_links()

    def resume(self) -> None:
        """Let a frozen server go on, beginning with what had been sent to it."""
        self.paused = False
        self._server.freeze(False)
        self._server.refresh_links()
        self._server.serve_all()

    # -- asked by the connections --------------------------------------------------------------

    @property
    def on_the_way(self) -> bool:
        """Whether answers may be lost or the server is frozen, so that connections must look."""
        return self.paused or self.lost_publish_acks > 0 or self.lost_acks > 0

    def lose_publish_ack(self) -> bool:
        """Return whether this answer to an append is lost."""
        if not self.lost_publish_acks:
            return False
        self.lost_publish_acks -= 1
        self._settle()
        return True

    def lose_ack(self) -> bool:
        """Return whether this answer to a delivery is lost."""
        if not self.lost_acks:
            return False
        self.lost_acks -= 1
        self._settle()
        return True

    def _settle(self) -> None:
        if not self.on_the_way:
            self._server.refresh_links()
