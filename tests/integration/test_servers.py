"""The servers the other tests stand on do what those tests rely on."""

import nats
import pytest

from tests.servers import NatsServer, ServerFailed


async def test_what_was_written_outlives_a_kill_but_not_a_wipe(own_nats_server: NatsServer) -> None:
    url = own_nats_server.url
    connection = await nats.connect(url)
    stream = connection.jetstream()
    await stream.add_stream(name="KEPT", subjects=["kept.>"])
    await stream.publish("kept.one", b"1")
    await connection.close()

    own_nats_server.kill()
    own_nats_server.start()
    assert own_nats_server.url == url
    connection = await nats.connect(url)
    assert (await connection.jetstream().stream_info("KEPT")).state.messages == 1
    await connection.close()

    own_nats_server.kill()
    own_nats_server.wipe()
    own_nats_server.start()
    connection = await nats.connect(url)
    assert await connection.jetstream().streams_info() == []
    await connection.close()


def test_a_running_server_is_not_wiped(own_nats_server: NatsServer) -> None:
    with pytest.raises(ServerFailed):
        own_nats_server.wipe()


def test_a_paused_server_still_stops(own_nats_server: NatsServer) -> None:
    own_nats_server.pause()
    own_nats_server.stop()
    assert not own_nats_server.running
