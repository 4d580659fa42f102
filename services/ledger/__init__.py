"""The ledger: the one mechanism under all three services.

A change of state is a list of events appended to one aggregate's log (JetStream, fenced), stored (archive, idempotent) and
only then answered and shown. `ledger.Ledger` is the door; a command's way leads through `aggregate` and `log`.
This package knows no service.
"""
