"""Runs the Mail service: ``python -m services.mail``, configured by ``TRADEWIND_…`` (see ``config``)."""

from __future__ import annotations

import sys

from services.host import CANNOT_START, host
from services.mail import tracking
from services.mail.config import MailSettings
from services.mail.house import SERVICE, House
from services.mail.kinds import MAIL
from services.mail.policy import POLICY
from services.mail.smtp import dkim
from services.runtime.config import load
from services.runtime.run import run


async def main(settings: MailSettings) -> None:
    """Serve until told to end, then drain."""
    async with host(SERVICE, settings, [MAIL], POLICY) as hosted:
        try:
            house = House(hosted)
            await house.open()
        except (dkim.UnusableKey, tracking.UnusableKey, OSError) as error:
            sys.stderr.write(f"cannot start: {error}\n")
            raise SystemExit(CANNOT_START) from error
        try:
            await hosted.server.run_until_signal()
        finally:
            await house.close()


if __name__ == "__main__":
    run(main(load(MailSettings)))
