"""Who hears of entries never harms who writes them."""

from services.ledger.archive import Row
from services.ledger.hearers import Hearers
from services.ledger.ids import AggregateId

HERE = AggregateId("acme", "conversation", "one")


def test_one_that_raises_harms_neither_the_writer_nor_those_after_it() -> None:
    hearers = Hearers()
    heard: list[object] = []

    def broken(*_: object) -> None:
        raise RuntimeError("a defect")

    hearers.on_stored(broken)
    hearers.on_stored(lambda aggregate, version: heard.append((aggregate, version)))
    hearers.on_written(broken)
    hearers.on_written(lambda aggregate, events: heard.append((aggregate, events)))
    hearers.on_rows(broken)
    hearers.on_rows(heard.append)
    hearers.on_reconnected(broken)
    hearers.on_reconnected(lambda: heard.append("back"))
    hearers.stored(HERE, 7)
    hearers.written(HERE, [(7, "said")])
    rows = [Row("cursors", "acme/one", "ann", b"", 7)]
    hearers.rows(rows)
    hearers.reconnected()
    assert heard == [(HERE, 7), (HERE, [(7, "said")]), rows, "back"]
