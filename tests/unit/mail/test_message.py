"""Messages, read back by the standard library's parser."""

from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mail.domain import Mailbox
from services.mail.smtp.message import BadAddress, Letter, build


def letter(**changes: object) -> Letter:
    facts: dict[str, object] = {
        "mail_id": "0193-ab",
        "sender": Mailbox("orders@tradewind.example", "Tradewind"),
        "recipient": Mailbox("ann@example.org", "Ann"),
        "subject": "Hello",
        "text": "Hello\n",
        "html": "<p>Hello</p>\n",
        "at_us": 1_760_000_000_000_000,
    }
    return Letter(**{**facts, **changes})  # type: ignore[arg-type]


def read(data: bytes) -> EmailMessage:
    message = message_from_bytes(data, policy=default)
    assert isinstance(message, EmailMessage)
    assert not message.defects
    return message


def bodies(message: EmailMessage) -> dict[str, str]:
    return {part.get_content_type(): part.get_content().rstrip() for part in message.walk() if not part.is_multipart()}


def test_text_and_html_are_alternatives() -> None:
    message = read(build(letter()))
    assert message.get_content_type() == "multipart/alternative"
    assert bodies(message) == {"text/plain": "Hello", "text/html": "<p>Hello</p>"}
    assert message["From"] == "Tradewind <orders@tradewind.example>"
    assert message["To"] == "Ann <ann@example.org>"
    assert message["Message-ID"] == "<0193-ab@tradewind.example>"
    assert message["Date"] == "Thu, 09 Oct 2025 08:53:20 +0000"
    assert message["Auto-Submitted"] == "auto-generated"


@pytest.mark.parametrize(("field", "kind"), [("text", "text/html"), ("html", "text/plain")])
def test_one_body_stands_alone(field: str, kind: str) -> None:
    assert list(bodies(read(build(letter(**{field: ""}))))) == [kind]


def test_every_attempt_sends_the_same_bytes() -> None:
    assert build(letter()) == build(letter())


@pytest.mark.parametrize("field", ["subject", "sender", "recipient"])
def test_no_header_can_be_slipped_in(field: str) -> None:
    evil = "Hi\r\nBcc: eve@example.org\r\n\r\nbody\x00\x0b\x85 end"
    value = evil if field == "subject" else Mailbox("ann@example.org", evil)
    message = read(build(letter(**{field: value})))
    assert message["Bcc"] is None
    assert list(bodies(message)) == ["text/plain", "text/html"]


@pytest.mark.parametrize(
    "address",
    [
        "ann@example.org\r\nBcc: eve@example.org",
        "",
        "ann@",
        "änn@example.org",
        "a b@example.org",
        '"a> SIZE=1"@example.org',
        "a" * 250 + "@example.org",
    ],
)
def test_addresses_that_are_none_are_refused_without_being_told(address: str) -> None:
    with pytest.raises(BadAddress) as refused:
        build(letter(recipient=Mailbox(address, "Ann")))
    assert "example" not in str(refused.value)


@given(text=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r"), max_size=300))
def test_any_text_arrives_as_it_was(text: str) -> None:
    data = build(letter(text=text, html=""))
    lines = data.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert not any(b"\n" in line or b"\r" in line for line in lines)
    arrived = next(iter(bodies(read(data)).values()))
    assert arrived.replace("\r\n", "\n").rstrip() == text.rstrip()


def test_names_and_subjects_in_any_script_arrive_as_they_were() -> None:
    message = read(
        build(letter(subject="Größe " * 20 + "東京", recipient=Mailbox("ann@example.org", 'Änn "Ö" Übel, Dr.')))
    )
    assert message["Subject"] == ("Größe " * 20 + "東京")
    assert message["To"].addresses[0].display_name == 'Änn "Ö" Übel, Dr.'
