"""Publishing the readiness report: validated, durable, or removed."""

import json
from typing import TYPE_CHECKING, NamedTuple

from cowgate.errors import EXIT_BLOCKED, StateError, hint_for
from cowgate.gate import contract
from cowgate.report.document import UNVALIDATED, Document, ReportError, encode, validate

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.machine.state import StateDir


class NoReport(StateError):
    """There is no report to show: nothing is proven, so the answer is the same as that of a shut gate."""

    exit_code = EXIT_BLOCKED


class Published(NamedTuple):
    """What lies on disk now. Without jsonschema `validated` is False, and the report must not be sealed."""

    document: Document
    content: bytes
    validated: bool


def publish(host: "Host", state: "StateDir", document: Document) -> Published:
    """Validate and write, durably and in one step. The caller holds the lock and has shut the gate.

    A report that is refused, by its schema or by the disk, is not written, and the one before it is removed.
    Raises ReportError, StateError.
    """
    validated = True
    try:
        try:
            validate(document)
        except ImportError:
            validated = False
            document = {**document, "notes": [*document["notes"], UNVALIDATED]}
            document["digest"] = contract.content_digest(document)
        content = encode(document)
        host.write_atomic(state.report_path, content, mode=0o644, owner=(0, 0))
    except ReportError:
        host.remove(state.report_path)
        raise
    except OSError as error:
        host.remove(state.report_path)
        told = f"the report cannot be written to {state.report_path}: {error.strerror or error}"
        raise StateError(told, hint=hint_for(error)) from None
    return Published(document, content, validated)


def load(host: "Host", path: str) -> Document:
    """A report from disk. Raises StateError where there is none, or something else."""

    try:
        document = json.loads(host.read_bytes(path, contract.FILE_LIMIT))
    except FileNotFoundError:
        raise NoReport(f"there is no report: {path} does not exist", hint="run `cowgate run`") from None
    except OSError as error:
        raise StateError(f"the report {path} cannot be read: {error.strerror}", hint=hint_for(error)) from None
    except (ValueError, RecursionError):
        raise StateError(f"{path} is not a report of cowgate", hint="run `cowgate run`") from None
    if not isinstance(document, dict) or document.get("schema_version") != contract.SCHEMA_VERSION:
        raise StateError(f"{path} is not a report that this cowgate knows", hint="run `cowgate run`")
    return document
