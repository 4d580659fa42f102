"""Devices that are told of messages, and when they are not to be: part of `Chat`."""

from __future__ import annotations

from functools import cached_property

from tradewind.chat.v1 import device_service_pb2, device_service_pb2_grpc
from tradewind.push.v1 import push_gateway_service_pb2
from tradewind.sdk._connection import Connection


class Devices:
    """Methods of `Chat`; see there for `timeout`. None needs a request id: each says how something is."""

    _connection: Connection

    @cached_property
    def _devices(self) -> device_service_pb2_grpc.DeviceServiceAsyncStub:
        return device_service_pb2_grpc.DeviceServiceStub(self._connection.channel)

    async def register_device(
        self,
        device_id: str,
        token: str,
        platform: push_gateway_service_pb2.PushPlatform.ValueType = push_gateway_service_pb2.PUSH_PLATFORM_FCM,
        *,
        app_version: str = "",
        locale: str = "",
        timeout: float | None = None,
    ) -> device_service_pb2.Device:
        """Say that a device is the caller's; whoever had the token before has it no more. To be called whenever the app starts."""
        request = device_service_pb2.RegisterDeviceRequest(
            device_id=device_id, platform=platform, token=token, app_version=app_version, locale=locale
        )
        return (await self._connection.unary(self._devices.RegisterDevice, request, timeout)).device

    async def unregister_device(self, device_id: str, *, timeout: float | None = None) -> None:
        """Forget a device, as when somebody signs out on it."""
        request = device_service_pb2.UnregisterDeviceRequest(device_id=device_id)
        await self._connection.unary(self._devices.UnregisterDevice, request, timeout)

    async def list_devices(self, *, timeout: float | None = None) -> list[device_service_pb2.Device]:
        """List the caller's devices, at most 20, without their tokens."""
        request = device_service_pb2.ListDevicesRequest()
        return list((await self._connection.unary(self._devices.ListDevices, request, timeout)).devices)

    async def set_push_preferences(
        self, preferences: device_service_pb2.PushPreferences, *, timeout: float | None = None
    ) -> device_service_pb2.PushPreferences:
        """Say when and of what the caller is to be told; what is not given is set back to its default."""
        request = device_service_pb2.SetPushPreferencesRequest(preferences=preferences)
        return (await self._connection.unary(self._devices.SetPushPreferences, request, timeout)).preferences

    async def get_push_preferences(self, *, timeout: float | None = None) -> device_service_pb2.PushPreferences:
        """Answer when and of what the caller is told."""
        request = device_service_pb2.GetPushPreferencesRequest()
        return (await self._connection.unary(self._devices.GetPushPreferences, request, timeout)).preferences
