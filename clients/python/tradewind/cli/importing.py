"""Imports invoices as orders: items first, then stock where it is asked for, then the orders through one bulk stream."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any

from tradewind.cli.grouping import Item, Plan, PlannedOrder, Terms, item_request_id, requests_of, stock_request_id
from tradewind.cli.invoices import in_major_units, read
from tradewind.cli.replaying import in_batches
from tradewind.cli.source import Source
from tradewind.cli.verdicts import Note, Refusal
from tradewind.order.v1 import order_service_pb2
from tradewind.sdk import AlreadyExists, Client, FailedPrecondition, InvalidArgument, PlaceOutcome
from tradewind.type.v1 import money_pb2

_WORKERS = 32
_WINDOW = 128
_SECONDS = 120.0

Step = Callable[[str, int, int], None]
"""Is told a step's name, how much of it is done, and how much there is."""


class Report:
    """What an import has come to: orders placed and replayed, lines refused, totals in minor units by currency."""

    def __init__(self, tell: Callable[[Refusal | Note], None]) -> None:
        self.placed = 0
        self.replayed = 0
        self.refused = 0
        self.totals: dict[str, int] = {}
        self._tell = tell

    def refuse(self, refusal: Refusal) -> None:
        """Say a refused line, and count it."""
        self.refused += 1
        self._tell(refusal)

    def note(self, note: Note) -> None:
        """Say something that hinders no line."""
        self._tell(note)

    def took(self, result: order_service_pb2.PlaceOrderResult) -> None:
        """Count an order that stands, by what the service says it comes to."""
        if result.replayed:
            self.replayed += 1
        else:
            self.placed += 1
        total = result.order.total
        self.totals[total.currency_code] = self.totals.get(total.currency_code, 0) + total.minor_units

    def summary(self) -> dict[str, Any]:
        """The one object at the end."""
        totals = {currency: in_major_units(minor, currency) for currency, minor in sorted(self.totals.items())}
        return {"placed": self.placed, "replayed": self.replayed, "refused": self.refused, "totals": totals}


class Import:
    """One run over one file."""

    def __init__(self, client: Client, source: Source, terms: Terms, report: Report, *, limit: int | None) -> None:
        self._client = client
        self._source = source
        self._terms = terms
        self._report = report
        self._plan = Plan(limit)
        # Orders under way, by request id: no more than the window holds.
        self._lines: dict[str, tuple[int, ...]] = {}

    async def run(self, stock: int, step: Step) -> None:
        """Do it; tells refused lines as they come. Raises BrokenFile, OSError, TradewindError: what is done until then stays done."""
        await self._survey(step)
        await self._each_item(self._put, "items", step)
        if stock:
            digest = self._source.digest.hexdigest()
            await self._each_item(lambda item: self._stock(item, stock, digest), "stock", step)
        done = 0
        total = len(self._plan.invoices)
        async for outcome in self._client.order.place_orders(self._requests(), window=_WINDOW, timeout=_SECONDS):
            self._settle(outcome)
            done += 1
            step("orders", done, max(total, done))

    async def _survey(self, step: Step) -> None:
        async for refusal in in_batches(self._plan.read(read(self._source.lines(), self._terms.currency))):
            self._report.refuse(refusal)
        step("lines", self._plan.lines, self._plan.lines)

    async def _each_item(self, work: Callable[[Item], Awaitable[None]], name: str, step: Step) -> None:
        items = list(self._plan.items.values())
        todo = iter(items)
        done = 0

        async def worker(todo: Iterator[Item]) -> None:
            nonlocal done
            for item in todo:
                try:
                    await work(item)
                except (InvalidArgument, FailedPrecondition, AlreadyExists) as error:
                    # Orders name their own prices: they can do without.
                    self._report.note(
                        Note(item.number, error.reason.lower(), f"its item was refused ({name}): {error.message}")
                    )
                done += 1
                step(name, done, len(items))

        workers = [asyncio.create_task(worker(todo)) for _ in range(_WORKERS)]
        try:
            await asyncio.gather(*workers)
        finally:
            # The first that fails ends them all.
            for each in workers:
                each.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _put(self, item: Item) -> None:
        terms = self._terms
        await self._client.order.put_item(
            item.sku,
            money_pb2.Money(currency_code=terms.currency, minor_units=item.unit_price),
            title=item.title,
            shop_id=terms.shop,
            request_id=item_request_id(terms.shop, item, terms.currency),
            timeout=_SECONDS,
        )

    async def _stock(self, item: Item, units: int, digest: str) -> None:
        terms = self._terms
        await self._client.order.adjust_stock(
            item.sku,
            units,
            shop_id=terms.shop,
            location=terms.location,
            request_id=stock_request_id(terms.shop, item, terms.location, digest, units),
            timeout=_SECONDS,
        )

    async def _requests(self) -> AsyncIterator[order_service_pb2.PlaceOrderRequest]:
        async for order in in_batches(self._planned()):
            self._lines[order.request.request_id] = order.numbers
            yield order.request

    def _planned(self) -> Iterator[PlannedOrder]:
        for invoice, lines in self._plan.orders(read(self._source.lines(), self._terms.currency)):
            yield from requests_of(invoice, lines, self._plan, self._terms)

    def _settle(self, outcome: PlaceOutcome) -> None:
        numbers = self._lines.pop(outcome.request.request_id)
        if outcome.result is not None:
            self._report.took(outcome.result)
            return
        error = outcome.error
        rule = (error.reason if error is not None and error.reason else type(error).__name__).lower()
        invoice = outcome.request.attributes["invoice"]
        why = f"the order of invoice {invoice} was refused: {error.message if error is not None else ''}"
        if rule == "request_id_reused":
            why = f"invoice {invoice} was imported before with other content; that order stands as it is"
        for number in numbers:
            self._report.refuse(Refusal(number, rule, why))
