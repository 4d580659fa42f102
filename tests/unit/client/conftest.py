"""Fixtures for tests of the client."""

from collections.abc import AsyncIterator

import pytest

from tests.unit.client.harbour import Harbour, harbour


@pytest.fixture
async def port() -> AsyncIterator[Harbour]:
    """The services in this process, on a port of their own."""
    async with harbour() as found:
        yield found
