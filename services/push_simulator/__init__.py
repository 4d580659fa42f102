"""A push gateway for tests and standalone: the whole contract of ``tradewind.push.v1``, real and durable, except that no device rings.

It keeps what came in one SQLite file, shows it by ``PushInboxService``, takes each notification once, and fails in every way a gateway
can, chosen by how the device's token begins:

=============================  ==================================================================================================
token                          what happens
=============================  ==================================================================================================
``invalid…``                   no device has it: TOKEN_INVALID, always
``gone-after:n:…``             the first n notifications are delivered, then TOKEN_INVALID
``later:n:…``                  the first n tries of a notification answer RETRY_LATER
``slow:ms:…``                  delivered, and the whole call takes so long
``unavailable:n:…``            the first n calls that carry it answer UNAVAILABLE and do nothing
``lost:n:…``                   the first n calls that carry it are done and answer UNAVAILABLE
anything else                  delivered
=============================  ==================================================================================================

How often a token was met is kept too, so a restart of the simulator changes nothing.
"""
