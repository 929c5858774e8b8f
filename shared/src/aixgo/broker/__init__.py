"""The broker: a port (`port.py`) and its adapters, named after their technology.

`open_broker("memory" | "embedded" | "nats://host:port")` returns a connection.
"""

from aixgo.broker.port import (
    Appended,
    Broker,
    BrokerEvent,
    BusMessage,
    Change,
    ConsumerConfig,
    ConsumerInfo,
    Consumption,
    Delivery,
    Expect,
    Headers,
    Record,
    StreamConfig,
    StreamInfo,
    Subscription,
)

__all__ = [
    "Appended",
    "Broker",
    "BrokerEvent",
    "BusMessage",
    "Change",
    "ConsumerConfig",
    "ConsumerInfo",
    "Consumption",
    "Delivery",
    "Expect",
    "Headers",
    "Record",
    "StreamConfig",
    "StreamInfo",
    "Subscription",
]
