"""``buf/validate/validate.proto``, registered with protobuf from the installed protovalidate package.

Every stub of a contract with field rules imports this module, as it would a generated one. The
descriptor is protovalidate's own, so the rules in a contract and the engine that enforces them
are always of one version, and the file is not copied into this tree.
"""

from google.protobuf import (
    descriptor_pb2,  # noqa: F401  (registers what validate.proto imports)
    descriptor_pool,
    duration_pb2,  # noqa: F401
    field_mask_pb2,  # noqa: F401
    timestamp_pb2,  # noqa: F401
)
from protovalidate import ViolationPb

_SERIALIZED = ViolationPb.desc().file.proto.to_binary()

DESCRIPTOR = descriptor_pool.Default().AddSerializedFile(_SERIALIZED)
"""The descriptor of ``buf/validate/validate.proto`` in the default pool."""
