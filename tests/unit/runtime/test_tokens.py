"""A token is worth what its signature, its key and its times say, no more."""

import base64
import json
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from services.runtime.call import Caller
from services.runtime.errors import Refused
from services.runtime.tokens import Authenticator, BadKey, Signer, make_key_pair


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def signer(clock: Clock) -> Signer:
    return Signer(Ed25519PrivateKey.generate(), clock=clock)


@pytest.fixture
def authenticator(signer: Signer, clock: Clock) -> Authenticator:
    return Authenticator([signer.public_key], leeway=5, clock=clock)


def refused(authenticator: Authenticator, token: str) -> str:
    with pytest.raises(Refused) as caught:
        authenticator.verify(token)
    assert caught.value.reason == "UNAUTHENTICATED"
    assert token not in str(caught.value) or not token
    return caught.value.message


def test_a_token_names_its_caller(signer: Signer, authenticator: Authenticator) -> None:
    token = signer.mint("ann", "acme", ["customer", "shop"])
    caller = Caller("acme", "ann", frozenset({"customer", "shop"}), None)
    assert authenticator.authenticate(f"Bearer {token}") == caller
    assert authenticator.authenticate(f"bearer {token}") is authenticator.verify(token)


def test_a_service_acts_for_a_user(signer: Signer, authenticator: Authenticator) -> None:
    caller = authenticator.verify(signer.mint("ann", "acme", ["service"], actor="chat"))
    assert (caller.subject, caller.on_behalf_of, caller.roles) == ("chat", "ann", frozenset({"service"}))


@pytest.mark.parametrize("value", [None, "", "Bearer", "Bearer ", "Basic YTpi", "Bearer " + "x" * 9000])
def test_what_is_no_bearer_token_is_refused(authenticator: Authenticator, value: str | None) -> None:
    with pytest.raises(Refused, match="no bearer token"):
        authenticator.authenticate(value)


def test_a_token_of_another_key_is_refused(authenticator: Authenticator, clock: Clock) -> None:
    refused(authenticator, Signer(Ed25519PrivateKey.generate(), clock=clock).mint("ann", "acme", ["customer"]))


def test_a_changed_token_is_refused(signer: Signer, authenticator: Authenticator) -> None:
    head, body, signature = signer.mint("ann", "acme", ["customer"]).split(".")
    claims = json.loads(base64.urlsafe_b64decode(body + "=="))
    forged = base64.urlsafe_b64encode(json.dumps({**claims, "roles": ["operator"]}).encode()).rstrip(b"=").decode()
    refused(authenticator, f"{head}.{forged}.{signature}")


def test_a_token_that_names_no_key_is_of_the_only_one(signer: Signer, clock: Clock) -> None:
    other = Ed25519PrivateKey.generate()
    now = int(clock.now)
    claims = {
        "iss": "tradewind",
        "aud": "tradewind",
        "sub": "ann",
        "tenant": "acme",
        "roles": ["customer"],
        "iat": now,
        "exp": now + 60,
    }
    token = jwt.encode(claims, other, algorithm="EdDSA")
    only = Authenticator([other.public_key()], clock=clock)
    assert only.verify(token) == Caller("acme", "ann", frozenset({"customer"}), None)
    refused(Authenticator([signer.public_key], clock=clock), token)
    refused(Authenticator([other.public_key(), signer.public_key], clock=clock), token)


def test_an_unsigned_token_is_refused(authenticator: Authenticator, signer: Signer) -> None:
    kid = jwt.get_unverified_header(signer.mint("ann", "acme", []))["kid"]
    claims = {
        "iss": "tradewind",
        "aud": "tradewind",
        "sub": "ann",
        "tenant": "acme",
        "roles": [],
        "iat": 1,
        "exp": 2**40,
    }
    refused(authenticator, jwt.encode(claims, "", algorithm="none", headers={"kid": kid}))
    refused(authenticator, jwt.encode(claims, "k" * 32, algorithm="HS256", headers={"kid": kid}))


@pytest.mark.parametrize("junk", ["", "x", "a.b.c", "ü.ü.ü", "é" * 50, "e30.e30.e30", "\ud800.x.y"])
def test_junk_is_refused(authenticator: Authenticator, junk: str) -> None:
    refused(authenticator, junk)


@pytest.mark.parametrize("other", [{"issuer": "someone"}, {"audience": "elsewhere"}])
def test_a_token_of_another_issuer_or_audience_is_refused(clock: Clock, other: dict[str, str]) -> None:
    key = Ed25519PrivateKey.generate()
    refused(Authenticator([key.public_key()], clock=clock), Signer(key, clock=clock, **other).mint("ann", "acme", []))


def test_times_count_with_leeway_also_for_a_remembered_token(
    signer: Signer, authenticator: Authenticator, clock: Clock
) -> None:
    token = signer.mint("ann", "acme", ["customer"], ttl=60)
    clock.now -= 4
    authenticator.verify(token)
    clock.now += 4 + 64
    authenticator.verify(token)
    clock.now += 1
    assert "expired" in refused(authenticator, token)
    assert "expired" in refused(authenticator, token)


def test_a_token_of_the_future_is_refused(signer: Signer, authenticator: Authenticator, clock: Clock) -> None:
    token = signer.mint("ann", "acme", ["customer"])
    clock.now -= 6
    assert "not valid yet" in refused(authenticator, token)


@pytest.mark.parametrize(
    ("subject", "tenant"),
    [("", "acme"), ("ann", ""), ("ann", "a.b"), ("ann", "a/b"), ("ann", "a" * 65), ("a\nb", "acme")],
)
def test_names_that_could_not_be_part_of_a_key_are_refused(
    signer: Signer, authenticator: Authenticator, subject: str, tenant: str
) -> None:
    refused(authenticator, signer.mint(subject, tenant, ["customer"]))


def test_memory_is_bounded_and_forgets_the_least_used(clock: Clock) -> None:
    key = Ed25519PrivateKey.generate()
    signer = Signer(key, clock=clock)
    authenticator = Authenticator([key.public_key()], capacity=2, clock=clock)
    tokens = [signer.mint(name, "acme", []) for name in ("a", "b", "c")]
    first = authenticator.verify(tokens[0])
    second = authenticator.verify(tokens[1])
    assert authenticator.verify(tokens[0]) is first
    authenticator.verify(tokens[2])
    assert authenticator.verify(tokens[0]) is first
    assert authenticator.verify(tokens[1]) is not second


def test_keys_are_files_and_several_may_be_trusted(tmp_path: Path) -> None:
    for name in ("old", "new"):
        make_key_pair(tmp_path / name, tmp_path / f"{name}.pub")
    authenticator = Authenticator.from_files([tmp_path / "old.pub", tmp_path / "new.pub"])
    for name in ("old", "new"):
        assert authenticator.verify(Signer.from_file(tmp_path / name).mint(name, "acme", [])).subject == name
    assert (tmp_path / "old").stat().st_mode & 0o077 == 0
    with pytest.raises(FileExistsError):
        make_key_pair(tmp_path / "old", tmp_path / "old.pub")


def test_a_file_that_holds_no_fitting_key_is_said_in_one_line(tmp_path: Path) -> None:
    make_key_pair(tmp_path / "key", tmp_path / "key.pub")
    other = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "other.pub").write_bytes(
        other.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    )
    for name in ("key", "other.pub", "missing"):
        with pytest.raises(BadKey, match=name):
            Authenticator.from_files([tmp_path / name])
    for name in ("key.pub", "missing"):
        with pytest.raises(BadKey, match=name):
            Signer.from_file(tmp_path / name)


def test_what_is_nested_too_deeply_is_refused_as_any_junk(authenticator: Authenticator) -> None:
    def coded(text: str) -> str:
        return base64.urlsafe_b64encode(text.encode()).rstrip(b"=").decode()

    deep = coded("[" * 5000)
    refused(authenticator, f"{deep}.e30.e30")
    refused(authenticator, f"{coded('{' + chr(34) + 'kid' + chr(34) + ':' + '[' * 5000)}.{deep}.e30")


@pytest.mark.parametrize("claim", ["exp", "iat"])
@pytest.mark.parametrize("value", [float("inf"), float("nan"), True, "2000000000", 10**400, None])
def test_a_time_that_would_never_come_is_no_time(clock: Clock, claim: str, value: object) -> None:
    key = Ed25519PrivateKey.generate()
    signer = Signer(key, clock=clock)
    token = signer.mint("ann", "acme", ["customer"])
    claims = {**jwt.decode(token, options={"verify_signature": False}), claim: value}
    authenticator = Authenticator([key.public_key()], clock=clock)
    kid = jwt.get_unverified_header(token)["kid"]
    refused(authenticator, jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": kid}))


def test_a_caller_knows_until_when(signer: Signer, authenticator: Authenticator, clock: Clock) -> None:
    assert authenticator.verify(signer.mint("ann", "acme", [], ttl=60)).until == clock.now + 60 + 5
