"""A contract of the tests' own: one rpc of each kind, and field rules; so that the runtime is tested without any service's."""

from functools import cache
from typing import Any

from buf.validate import validate_pb2
from google.protobuf import descriptor_pb2, descriptor_pool, text_format
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

_FILE = """
name: "trial/v1/trial.proto" package: "trial.v1" syntax: "proto3" dependency: "buf/validate/validate.proto"
message_type {
  name: "Part"
  field { name: "weight" number: 1 type: TYPE_INT32 label: LABEL_OPTIONAL
          options { [buf.validate.field] { int32 { gt: 0 } } } }
}
message_type {
  name: "Parcel"
  field { name: "label" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL
          options { [buf.validate.field] { string { max_len: 16 } } } }
  field { name: "parts" number: 2 type: TYPE_MESSAGE type_name: ".trial.v1.Part" label: LABEL_REPEATED }
  field { name: "notes" number: 3 type: TYPE_MESSAGE type_name: ".trial.v1.Parcel.NotesEntry" label: LABEL_REPEATED
          options { [buf.validate.field] { map { values { string { min_len: 1 } } } } } }
  nested_type {
    name: "NotesEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_STRING label: LABEL_OPTIONAL }
  }
}
service {
  name: "TrialService"
  method { name: "Say" input_type: ".trial.v1.Parcel" output_type: ".trial.v1.Parcel" }
  method { name: "Count" input_type: ".trial.v1.Parcel" output_type: ".trial.v1.Parcel" server_streaming: true }
  method { name: "Gather" input_type: ".trial.v1.Parcel" output_type: ".trial.v1.Parcel" client_streaming: true }
  method { name: "Talk" input_type: ".trial.v1.Parcel" output_type: ".trial.v1.Parcel"
           client_streaming: true server_streaming: true }
}
"""


@cache
def trial_service() -> ServiceDescriptor:
    """The service's descriptor."""
    assert validate_pb2.DESCRIPTOR is not None
    file = text_format.Parse(_FILE, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.Default()
    pool.Add(file)
    return pool.FindServiceByName("trial.v1.TrialService")


def parcel(label: str = "", weights: tuple[int, ...] = ()) -> Message:
    """A message; its label has at most 16 characters, its parts weigh more than 0."""
    file = trial_service().file
    make, part = (GetMessageClass(file.message_types_by_name[name]) for name in ("Parcel", "Part"))
    made: Message = make(label=label, parts=[part(weight=weight) for weight in weights])
    return made


def parse(data: bytes) -> Any:
    """A message of its bytes."""
    return type(parcel()).FromString(data)
