"""What the contracts declare holds for the stubs: they load, and their field rules are enforced."""

import importlib
from collections.abc import Iterator
from pathlib import Path

import protovalidate
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FileDescriptor
from tradewind.chat.v1 import chat_service_pb2

ROOT = Path(__file__).resolve().parents[2]
CONTRACTS = sorted(path.relative_to(ROOT / "proto").as_posix() for path in (ROOT / "proto").rglob("*.proto"))


def loaded(contract: str) -> FileDescriptor:
    """The descriptor of a contract, by way of its stub."""
    importlib.import_module(contract.removesuffix(".proto").replace("/", ".") + "_pb2")
    return descriptor_pool.Default().FindFileByName(contract)


def messages(file: FileDescriptor) -> Iterator[Descriptor]:
    """Every message type of a contract, nested ones too; map entries are no messages of their own."""
    waiting = list(file.message_types_by_name.values())
    while waiting:
        descriptor = waiting.pop()
        waiting += descriptor.nested_types
        if not descriptor.GetOptions().map_entry:
            yield descriptor


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_rule_compiles(contract: str) -> None:
    for descriptor in messages(loaded(contract)):
        protovalidate.collect_violations(message_factory.GetMessageClass(descriptor)())


@pytest.mark.parametrize("contract", CONTRACTS)
def test_money_and_time_are_never_floating(contract: str) -> None:
    floating = [
        field.full_name
        for descriptor in messages(loaded(contract))
        for field in descriptor.fields
        if field.type in {field.TYPE_DOUBLE, field.TYPE_FLOAT}
    ]
    assert floating == []


def test_rules_are_enforced_on_ordinary_messages() -> None:
    with pytest.raises(protovalidate.ValidationError) as refused:
        protovalidate.validate(chat_service_pb2.SendMessageRequest(request_id="not one"))
    rules = {violation.proto.rule_id for violation in refused.value.violations}
    assert {"string.uuid", "required"} <= rules
