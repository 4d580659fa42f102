"""Read models that grow with a conversation are cut into slices by all who use the store."""

from __future__ import annotations

from services.chat import marks, projections, receipts
from services.chat.kinds import SLICED
from services.operate.known import SERVICES


def test_every_read_model_of_a_conversation_s_messages_is_cut_into_slices() -> None:
    """A conversation may grow for ever; what is kept beside each of its messages must not be one partition of the store."""
    rows_by_message = {marks.MARKS, marks.EDITS, marks.REACTIONS, marks.OWN_REACTIONS, marks.THREADS, marks.DELETED}
    rows_by_message |= {marks.MENTIONS, marks.HIDDEN}
    assert rows_by_message <= set(SLICED)
    assert {receipts.READ, receipts.DELIVERED} <= set(SLICED)  # one for each reader of a channel
    assert {receipts.READ_BY_USER, projections.FLAGS} <= set(SLICED)  # one for each conversation of a user
    assert SERVICES["chat"].sliced is SLICED  # what restores a store cuts it as those who read it
