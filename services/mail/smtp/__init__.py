"""The sending engine: messages (RFC 5322), signatures (RFC 6376) and their hand-over (RFC 5321). It knows no log and no store."""
