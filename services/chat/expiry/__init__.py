"""Messages that do not last: when a conversation is to be woken for them, and what is done then."""
