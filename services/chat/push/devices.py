"""Devices and preferences, as rows: what a device is called now, and nothing of what it was called before.

A token stands in two rows: with its device, and, as its SHA-256, with who has it, so that a device that changes hands is taken from who
had it. Both are deleted with the device; no log keeps a token. The second decides who is told: a token belongs to one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from tradewind.chat.v1 import device_service_pb2 as pb
from tradewind.chat.v1 import push_pb2

from services.chat import commands, wire
from services.ledger.archive import Row
from services.ledger.ledger import Ledger

DEVICES: Final = "push_devices"
"""A user's devices, by id, and its preferences."""
TOKENS: Final = "push_tokens"
"""Who has a token, by its SHA-256."""
MOST_DEVICES: Final = 20
_DEVICE: Final = "d/"
_PREFERENCES: Final = "p"
_MOST_ROWS: Final = 200
"""More than a user ever has: of those registered at the same moment a few may be too many until the next one."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How a user is reached, and how it wants to be."""

    devices: Sequence[push_pb2.StoredDevice] = ()
    preferences: pb.PushPreferences = field(default_factory=pb.PushPreferences)


async def reach(ledger: Ledger, tenant: str, user_id: str) -> Reach:
    """Read a user's devices and preferences. Raises StoreUnavailable."""
    devices, preferences = [], pb.PushPreferences()
    for row in await ledger.rows(DEVICES, _partition(tenant, user_id), limit=_MOST_ROWS):
        if row.key == _PREFERENCES:
            preferences = pb.PushPreferences.FromString(row.value or b"")
        else:
            devices.append(push_pb2.StoredDevice.FromString(row.value or b""))
    return Reach(devices, preferences)


async def register(ledger: Ledger, tenant: str, user_id: str, request: pb.RegisterDeviceRequest) -> pb.Device:
    """Keep a device, and take its token from whoever had it. Raises StoreUnavailable."""
    now = commands.now_us()
    device = pb.Device(
        device_id=request.device_id,
        platform=request.platform,
        app_version=request.app_version,
        locale=request.locale,
        register_time=wire.timestamp(now),
    )
    known = {stored.device.device_id: stored for stored in (await reach(ledger, tenant, user_id)).devices}
    before = known.pop(request.device_id, None)
    rows: dict[tuple[str, str, str], Row] = {}

    def put(row: Row) -> None:
        rows[row.table, row.partition, row.key] = row

    if before is not None and before.token != request.token:
        put(_holder_row(tenant, before.token, None, now))
    oldest_first = sorted(known.values(), key=lambda stored: stored.device.register_time.ToMicroseconds())
    for surplus in oldest_first[: max(0, len(known) + 1 - MOST_DEVICES)]:
        put(_device_row(tenant, user_id, surplus.device.device_id, None, now))
        put(_holder_row(tenant, surplus.token, None, now))
    holder = await _holder(ledger, tenant, request.token)
    if holder is not None and (holder.user_id, holder.device_id) != (user_id, request.device_id):
        put(_device_row(tenant, holder.user_id, holder.device_id, None, now))
    put(_holder_row(tenant, request.token, push_pb2.TokenHolder(user_id=user_id, device_id=request.device_id), now))
    stored = push_pb2.StoredDevice(device=device, token=request.token)
    put(_device_row(tenant, user_id, request.device_id, stored, now))
    await ledger.put_rows(list(rows.values()))
    return device


async def unregister(ledger: Ledger, tenant: str, user_id: str, device_id: str) -> None:
    """Forget a device. Raises StoreUnavailable."""
    row = await ledger.row(DEVICES, _partition(tenant, user_id), _DEVICE + device_id)
    if row is not None:
        stored = push_pb2.StoredDevice.FromString(row.value or b"")
        await _forget(ledger, tenant, user_id, stored, max(row.seq + 1, commands.now_us()))


async def invalid(ledger: Ledger, tenant: str, user_id: str, device_id: str, token: str) -> None:
    """Forget a device whose token is no longer valid, unless it was registered with another meanwhile. Raises StoreUnavailable."""
    row = await ledger.row(DEVICES, _partition(tenant, user_id), _DEVICE + device_id)
    if row is None:
        return
    stored = push_pb2.StoredDevice.FromString(row.value or b"")
    if stored.token == token:
        await _forget(ledger, tenant, user_id, stored, row.seq + 1)


async def sold(ledger: Ledger, tenant: str, user_id: str, stored: push_pb2.StoredDevice) -> bool:
    """Tell whether another has a device's token now, and forget the device then. Raises StoreUnavailable.

    Two may have registered it at the same moment; or a process died between the two rows, where a store does not write both at once.
    """
    holder = await _holder(ledger, tenant, stored.token)
    if holder is None or (holder.user_id, holder.device_id) == (user_id, stored.device.device_id):
        return False
    await invalid(ledger, tenant, user_id, stored.device.device_id, stored.token)
    return True


async def prefer(ledger: Ledger, tenant: str, user_id: str, preferences: pb.PushPreferences) -> None:
    """Keep a user's preferences. Raises StoreUnavailable."""
    row = Row(DEVICES, _partition(tenant, user_id), _PREFERENCES, preferences.SerializeToString(), commands.now_us())
    await ledger.put_rows([row])


async def forget_user(ledger: Ledger, tenant: str, user_id: str) -> None:
    """Forget all devices and preferences of a user, as when its data is erased. Raises StoreUnavailable."""
    now = commands.now_us()
    rows = [Row(DEVICES, _partition(tenant, user_id), _PREFERENCES, None, now)]
    for stored in (await reach(ledger, tenant, user_id)).devices:
        rows.append(_device_row(tenant, user_id, stored.device.device_id, None, now))
        rows.append(_holder_row(tenant, stored.token, None, now))
    await ledger.put_rows(rows)


async def _forget(ledger: Ledger, tenant: str, user_id: str, stored: push_pb2.StoredDevice, seq: int) -> None:
    rows = [_device_row(tenant, user_id, stored.device.device_id, None, seq)]
    holder = await _holder(ledger, tenant, stored.token)
    if holder is not None and (holder.user_id, holder.device_id) == (user_id, stored.device.device_id):
        rows.append(_holder_row(tenant, stored.token, None, seq))
    await ledger.put_rows(rows)


async def _holder(ledger: Ledger, tenant: str, token: str) -> push_pb2.TokenHolder | None:
    row = await ledger.row(TOKENS, *_token_place(tenant, token))
    return push_pb2.TokenHolder.FromString(row.value or b"") if row is not None else None


def _device_row(tenant: str, user_id: str, device_id: str, stored: push_pb2.StoredDevice | None, seq: int) -> Row:
    value = stored.SerializeToString() if stored is not None else None
    return Row(DEVICES, _partition(tenant, user_id), _DEVICE + device_id, value, seq)


def _holder_row(tenant: str, token: str, holder: push_pb2.TokenHolder | None, seq: int) -> Row:
    value = holder.SerializeToString() if holder is not None else None
    return Row(TOKENS, *_token_place(tenant, token), value, seq)


def _partition(tenant: str, user_id: str) -> str:
    return f"{tenant}/{user_id}"


def _token_place(tenant: str, token: str) -> tuple[str, str]:
    """Spread a tenant's tokens over 256 partitions."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    return f"{tenant}/{digest[:2]}", digest
