"""Signed addresses."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.mail.tracking import Links, UnusableKey

OLD, NEW = b"o" * 32, b"n" * 32
LINKS = Links("https://mail.example/", [NEW])


def token_of(links: Links, tenant: str = "acme", mail_id: str = "0193-7") -> str:
    return links.picture(tenant, mail_id).removeprefix("https://mail.example/o/").removesuffix(".gif")


def test_a_token_says_tenant_and_mail() -> None:
    assert LINKS.read(token_of(LINKS)) == ("acme", "0193-7")


def test_an_older_key_still_verifies_and_a_foreign_one_does_not() -> None:
    old = Links("https://mail.example", [OLD])
    assert Links("https://mail.example", [NEW, OLD]).read(token_of(old)) == ("acme", "0193-7")
    assert LINKS.read(token_of(old)) is None


@given(at=st.integers(0, 39), letter=st.sampled_from("ABCxyz019-_"))
def test_a_changed_token_is_none(at: int, letter: str) -> None:
    token = token_of(LINKS)
    changed = token[:at] + letter + token[at + 1 :]
    assert changed == token or LINKS.read(changed) is None


@given(token=st.text(max_size=600))
def test_any_text_is_read_without_harm(token: str) -> None:
    assert LINKS.read(token) is None


def test_the_picture_stands_at_the_end_of_the_letter() -> None:
    assert LINKS.add_picture("<body><p>a</p></body></html>", "acme", "1").endswith(
        'style="display:none"></body></html>'
    )
    assert LINKS.add_picture("<p>a</p>", "acme", "1").startswith("<p>a</p><img src=")


@pytest.mark.parametrize("text", ["", "no hex", "00" * 31])
def test_bad_keys_are_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "key"
    path.write_text(text)
    with pytest.raises(UnusableKey):
        Links.from_file("https://mail.example", path)


def test_keys_are_read_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(f"{NEW.hex()}\n{OLD.hex()}\n")
    assert token_of(Links.from_file("https://mail.example", path)) == token_of(LINKS)
