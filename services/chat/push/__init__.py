"""Push: members who are away are told of messages by their devices.

A message does not tell anybody by itself. It makes a round of its conversation due, a few seconds later and not more often than each half
minute; the round then finds out who is away and has not read, from cursors and rows that stand in the store, and tells each once for all
there is. So a message costs the same whether ten or a thousand are away, nothing is queued, and a gateway that is down for hours leaves
no backlog: the round is only tried again later, and finds more to tell.
"""
