"""People are written to: each mail to an address of its own, some of them at a server that is unkind."""

import random

import grpc
from tradewind.mail.v1 import mail_service_pb2 as pb
from tradewind.mail.v1 import mail_service_pb2_grpc as rpc

from tests.drills.load.calling import Answer, Intent, Pace, new_request_id, settle
from tests.drills.load.chat import bearer
from tests.drills.records import Recorder, digest
from tests.drills.stage import Stage

DOMAIN = "readers.example"
PLAIN = ("r",) * 8 + ("greylist", "bounce")
"""Recipients of an ordinary day; what the receiving server does by the name is in services/standalone/inbox.py."""
STORMY = ("r", "r", "greylist", "drop-after-data", "slow", "defer", "hang")
"""Recipients whose server is in a storm. Mail ends its waits by `smtp_data_timeout`."""


async def write(
    stage: Stage, channel: grpc.aio.Channel, recorder: Recorder, pace: Pace, seed: str, names: tuple[str, ...]
) -> None:
    """One program's mails, one after the other."""
    rng = random.Random(seed)
    stub = rpc.MailServiceStub(channel)
    metadata = bearer(stage, "digests", "service")
    while not pace.ending.is_set():
        request = pb.SendMailRequest(request_id=new_request_id(rng))
        request.to.address = f"{rng.choice(names)}+{request.request_id.replace('-', '')}@{DOMAIN}"
        request.content.subject, request.content.text = "drill", f"{rng.getrandbits(64):x}\n"
        content = digest(request.SerializeToString(deterministic=True))
        intent = Intent("mail.send", seed, request.to.address, request.request_id, content)

        async def attempt(deadline: float, request: pb.SendMailRequest = request) -> Answer:
            answer = await stub.SendMail(request, metadata=metadata, timeout=deadline)
            return Answer(facts={"mail": str(answer.mail_id)})

        await settle(recorder, pace, rng, intent, attempt)
        await pace.pause(rng)
