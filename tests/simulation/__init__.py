"""The ledger in a simulated world: its real code on simulated nats-servers, a simulated store and a simulated clock, in one process.

A seed decides every delay, lost answer, late arrival, crash, pause, wipe and ageing-out, so a run repeats exactly. `world.run` plays one;
`truth` holds what must stay true after every step; `shrink` makes a failing one small; `mutants` breaks the rules of the protocol.
"""
