"""Turns the contracts under ``proto/`` into Python stubs and into descriptor images for ``buf``.

Contracts of others are imported from installed packages and never copied into the tree:
``google/rpc`` from googleapis-common-protos, ``google/protobuf`` from grpcio-tools and
``buf/validate`` from protovalidate, which carries the file's descriptor.

    python proto/generate.py stubs           write the stubs into clients/python
    python proto/generate.py check           say which stubs are stale; 1 if any
    python proto/generate.py image FILE      write a descriptor image that `buf lint` and `buf breaking` read
    python proto/generate.py release FILE    the same without comments: what later contracts must not break
"""

import argparse
import filecmp
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path

from google.protobuf import descriptor_pb2
from grpc_tools import protoc
from protovalidate import ViolationPb

PROTO = Path(__file__).resolve().parent
STUBS = PROTO.parent / "clients" / "python"
STUB_SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py", "_pb2_grpc.pyi")

# buf marks its own fields of FileDescriptorProto with number 8042; `is_import` is field 1 of it.
# An imported file is known to lint and to breaking, but not judged by them.
IS_IMPORT = b"\xd2\xf6\x03\x02\x08\x01"


class GenerationError(Exception):
    """The contracts do not compile; protoc has said why on standard error."""


def contracts() -> list[str]:
    """Every contract of this tree, as a path below ``proto/``, in order."""
    return sorted(path.relative_to(PROTO).as_posix() for path in PROTO.rglob("*.proto"))


def compile_contracts(output: Sequence[str]) -> None:
    """Runs protoc over every contract.

    Args:
        output: protoc's arguments that say what to write, and where.

    Raises:
        GenerationError: a contract does not compile.
    """
    with tempfile.TemporaryDirectory() as scratch:
        validate = Path(scratch) / "validate.binpb"
        rules = descriptor_pb2.FileDescriptorProto.FromString(ViolationPb.desc().file.proto.to_binary())
        validate.write_bytes(descriptor_pb2.FileDescriptorSet(file=[rules]).SerializeToString())
        arguments = [
            f"--proto_path={PROTO}",
            f"--proto_path={sysconfig.get_path('purelib')}",
            f"--proto_path={resources.files('grpc_tools') / '_proto'}",
            f"--descriptor_set_in={validate}",
            *output,
            *contracts(),
        ]
        if protoc.main(["protoc", *arguments]) != 0:
            raise GenerationError


def plugin(name: str) -> str:
    """The argument that makes protoc find the plugin ``name`` in this environment."""
    suffix = ".exe" if sys.platform == "win32" else ""
    return f"--plugin={name}={Path(sysconfig.get_path('scripts')) / (name + suffix)}"


def write_stubs(target: Path) -> None:
    """Writes the stubs of every contract below ``target``, with an ``__init__.py`` in each package."""
    compile_contracts(
        [
            plugin("protoc-gen-mypy"),
            plugin("protoc-gen-mypy_grpc"),
            f"--python_out={target}",
            f"--mypy_out=quiet:{target}",
            f"--grpc_python_out={target}",
            f"--mypy_grpc_out=quiet:{target}",
        ]
    )
    for contract in contracts():
        package = Path(contract).parent
        drop_empty_services(target / contract)
        for directory in (package, *package.parents[:-2]):
            init = f'"""Stubs of ``proto/{directory.as_posix()}``; ``make proto`` writes them."""\n'
            (target / directory / "__init__.py").write_text(init, encoding="utf-8")


def drop_empty_services(contract: Path) -> None:
    """Removes the gRPC stubs of a contract that declares no service: they would hold nothing."""
    stem = contract.with_suffix("")
    grpc_stub = Path(f"{stem}_pb2_grpc.py")
    if "Servicer" not in grpc_stub.read_text(encoding="utf-8"):
        grpc_stub.unlink()
        Path(f"{stem}_pb2_grpc.pyi").unlink(missing_ok=True)


def stubs_below(root: Path) -> Iterator[Path]:
    """Every generated file below ``root``, relative to it."""
    for path in root.glob("tradewind/**/*"):
        generated = path.name.endswith(STUB_SUFFIXES) or (path.name == "__init__.py" and is_generated_init(path))
        if generated:
            yield path.relative_to(root)


def is_generated_init(path: Path) -> bool:
    """Whether an ``__init__.py`` is one that ``write_stubs`` made."""
    return path.read_text(encoding="utf-8").startswith('"""Stubs of ``proto/')


def stale(fresh: Path) -> list[tuple[Path, str]]:
    """What differs between the checked in stubs and those below ``fresh``: the path and how."""
    wanted, present = set(stubs_below(fresh)), set(stubs_below(STUBS))
    changed = {path for path in wanted & present if not filecmp.cmp(fresh / path, STUBS / path, shallow=False)}
    words = dict.fromkeys(wanted - present, "missing")
    words |= dict.fromkeys(present - wanted, "no contract")
    words |= dict.fromkeys(changed, "differs")
    return sorted(words.items())


def update() -> int:
    """Brings the checked in stubs to what the contracts say, touching only what changed."""
    with tempfile.TemporaryDirectory() as scratch:
        fresh = Path(scratch)
        write_stubs(fresh)
        for path, how in stale(fresh):
            if how == "no contract":
                (STUBS / path).unlink()
                continue
            (STUBS / path).parent.mkdir(parents=True, exist_ok=True)
            (STUBS / path).write_bytes((fresh / path).read_bytes())
    return 0


def check() -> int:
    """Names every checked in stub that is not what the contracts say; 1 if there is one."""
    with tempfile.TemporaryDirectory() as scratch:
        write_stubs(Path(scratch))
        findings = stale(Path(scratch))
    for path, how in findings:
        print(f"clients/python/{path.as_posix()}: {how}; run `make proto`", file=sys.stderr)
    return 1 if findings else 0


def write_image(target: Path, *, comments: bool) -> int:
    """Writes the descriptors of all contracts and of what they import, as an image ``buf`` reads."""
    target.parent.mkdir(parents=True, exist_ok=True)
    compile_contracts(["--include_imports", "--include_source_info", f"--descriptor_set_out={target}"])
    image = descriptor_pb2.FileDescriptorSet.FromString(target.read_bytes())
    own = set(contracts())
    for file in image.file:
        imported = file.name not in own
        if imported:
            file.MergeFromString(IS_IMPORT)
        if imported or not comments:
            file.ClearField("source_code_info")
    target.write_bytes(image.SerializeToString(deterministic=True))
    return 0


def main() -> int:
    """Runs the step named on the command line and returns its exit code."""
    parser = argparse.ArgumentParser(description="Stubs and descriptor images of the contracts under proto/.")
    steps = parser.add_subparsers(dest="step", required=True)
    steps.add_parser("stubs", help="write the stubs into clients/python")
    steps.add_parser("check", help="say which stubs are stale")
    steps.add_parser("image", help="write a descriptor image for buf").add_argument("file", type=Path)
    steps.add_parser("release", help="write the image of what is released").add_argument("file", type=Path)
    arguments = parser.parse_args()
    try:
        if arguments.step == "stubs":
            return update()
        if arguments.step == "check":
            return check()
        return write_image(arguments.file, comments=arguments.step == "image")
    except GenerationError:
        return 1


if __name__ == "__main__":
    sys.exit(main())
