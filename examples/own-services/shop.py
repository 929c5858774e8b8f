"""Three agents of a shop: `desk` takes an order, asks `stock` and `price`, and answers."""

import asyncio

from pydantic import BaseModel, Field

from aixgo import Agent, App, Context
from aixgo.errors import InvalidPayload

PRICES = {"lamp": 19.90, "chair": 89.00, "desk": 240.00}
ON_STOCK = {"lamp": 12, "chair": 3, "desk": 0}


class Order(BaseModel):
    """What a customer wants."""

    item: str
    count: int = Field(default=1, ge=1, le=100)


class Offer(BaseModel):
    """What the shop says to it."""

    item: str
    total: float
    in_days: int


async def stock(order: Order) -> int:
    """Return the days until the order can be sent."""
    return 1 if ON_STOCK.get(order.item, 0) >= order.count else 14


async def price(order: Order) -> float:
    """Return what the order costs; ten of a kind are a tenth cheaper."""
    if order.item not in PRICES:
        raise InvalidPayload(f"there is no {order.item!r}; there is {', '.join(PRICES)}")
    total = PRICES[order.item] * order.count
    return round(total * 0.9 if order.count >= 10 else total, 2)


async def desk(order: Order, ctx: Context) -> Offer:
    """Ask both at once, each a durable step, and make the offer."""
    days, total = await ctx.gather(ctx.call("stock", order), ctx.call("price", order))
    return Offer(item=order.item, total=total.data, in_days=days.data)


app = App([Agent("stock", stock), Agent("price", price), Agent("desk", desk)], name="shop")


async def main() -> None:
    """Try all three in this process."""
    async with app.running() as system:
        offer = await system.call("desk", {"item": "lamp", "count": 10})
        print(offer.data)


if __name__ == "__main__":
    asyncio.run(main())
