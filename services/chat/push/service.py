"""The rpcs of devices."""

from __future__ import annotations

from tradewind.chat.v1 import device_service_pb2 as pb

from services.chat import domain
from services.chat.access import actor_of
from services.chat.push import devices, quiet
from services.ledger.ledger import Ledger
from services.runtime.call import Call


class DeviceService:
    """Handlers of ``tradewind.chat.v1.DeviceService``; their contract is in ``device_service.proto``."""

    def __init__(self, ledger: Ledger) -> None:
        """Keep devices in ``ledger``'s store."""
        self._ledger = ledger

    async def RegisterDevice(self, request: pb.RegisterDeviceRequest, call: Call) -> pb.RegisterDeviceResponse:
        """Keep a device."""
        actor = actor_of(call.caller)
        device = await devices.register(self._ledger, actor.tenant, actor.user_id, request)
        return pb.RegisterDeviceResponse(device=device)

    async def UnregisterDevice(self, request: pb.UnregisterDeviceRequest, call: Call) -> pb.UnregisterDeviceResponse:
        """Forget a device."""
        actor = actor_of(call.caller)
        await devices.unregister(self._ledger, actor.tenant, actor.user_id, request.device_id)
        return pb.UnregisterDeviceResponse()

    async def ListDevices(self, request: pb.ListDevicesRequest, call: Call) -> pb.ListDevicesResponse:
        """List the caller's devices."""
        actor = actor_of(call.caller)
        found = await devices.reach(self._ledger, actor.tenant, actor.user_id)
        return pb.ListDevicesResponse(devices=[stored.device for stored in found.devices])

    async def SetPushPreferences(
        self, request: pb.SetPushPreferencesRequest, call: Call
    ) -> pb.SetPushPreferencesResponse:
        """Keep when and of what the caller is told."""
        wanted = request.preferences
        if wanted.HasField("quiet_hours") and not quiet.is_zone(wanted.quiet_hours.time_zone):
            raise domain.Refused(
                "INVALID_FIELD",
                "the time zone is not in the IANA database",
                field="preferences.quiet_hours.time_zone",
            )
        actor = actor_of(call.caller)
        await devices.prefer(self._ledger, actor.tenant, actor.user_id, wanted)
        return pb.SetPushPreferencesResponse(preferences=wanted)

    async def GetPushPreferences(
        self, request: pb.GetPushPreferencesRequest, call: Call
    ) -> pb.GetPushPreferencesResponse:
        """Answer when and of what the caller is told."""
        actor = actor_of(call.caller)
        found = await devices.reach(self._ledger, actor.tenant, actor.user_id)
        return pb.GetPushPreferencesResponse(preferences=found.preferences)
