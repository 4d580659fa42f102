"""Technology without business: configuration, tokens, telemetry, the gRPC server and the connections.

Nothing here knows a service. A service's ``__main__`` reads its settings (``config``), starts ``telemetry``, connects
(``nats``, ``channel``), builds a ``server`` and runs it (``run``); its handlers see only ``call`` and ``errors``.
"""
