"""Reading the policy: files, schema, ids, defaults."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import TYPE_CHECKING, Any, Union

from cowgate import codec
from cowgate.errors import PolicyError
from cowgate.gate.contract import POLICY_DIR, POLICY_FILE, policy_digest
from cowgate.policy import file
from cowgate.policy.model import NEVER_WAIVABLE, Policy
from cowgate.providers import PROVIDERS
from cowgate.suggestion import suggestion

if TYPE_CHECKING:
    from cowgate.machine.host import Host
    from cowgate.policy.file import PolicyFile

FILE_LIMIT = 1 << 18  # bytes; a policy is a page of text, and the YAML parser takes a second for this much


def load(host: Host, path: str = "", *, waivable: Mapping[str, bool]) -> Policy:
    """The installed policy (policy.yaml, then policy.d/*.yaml by name), or the one file that is named.

    `waivable` has every requirement, and whether it may be waived.
    Raises PolicyError: one sentence with file, line and column.
    """
    contents = [(name, _read(host, name)) for name in ([path] if path else installed_files(host))]
    policy = Policy(digest=policy_digest(contents), files=tuple(name for name, _ in contents))
    if not contents:
        return policy

    merged: dict[str, Any] = {}
    for name, content in contents:
        found = file.parse(name, content)
        try:
            file.validate(found)
        except ImportError:
            policy = policy._replace(unchecked="jsonschema is not installed, so the policy was only checked for its types")
        check_ids(found, waivable)
        merged = merge(merged, _with_dates(found))
    provider = PROVIDERS.get(str(merged.get("provider")))
    merged = merge((provider and provider.profile) or {}, merged)
    return _decode(merged, contents[-1][0])._replace(digest=policy.digest, files=policy.files, unchecked=policy.unchecked)


def installed_files(host: Host) -> list[str]:
    """The paths of the policy files that are there, in the order in which they count. Raises PolicyError."""
    try:
        names = host.listdir(POLICY_DIR)
        first = [POLICY_FILE] if host.readlink(POLICY_FILE) is not None or host.exists(POLICY_FILE) else []
    except OSError as error:
        raise PolicyError(f"{error.filename or POLICY_DIR}: {error.strerror}", hint="run it as root") from None
    return first + [f"{POLICY_DIR}/{name}" for name in names if name.endswith(".yaml") and not name.startswith(".")]


def _read(host: Host, path: str) -> bytes:
    try:
        return host.read_bytes(path, FILE_LIMIT)
    except OSError as error:
        hint = "run it as root" if isinstance(error, PermissionError) else ""
        raise PolicyError(f"the policy {path} cannot be read: {error.strerror}", hint=hint) from None


def check_ids(found: PolicyFile, waivable: Mapping[str, bool]) -> None:
    """Every id under waivers and require must exist (`waivable` has them all), and waivers only for what may be waived.

    Raises PolicyError.
    """

    named: list[tuple[tuple[Union[str, int], ...], Any]] = []
    for number, waiver in enumerate(_list(found.values.get("waivers"))):
        if isinstance(waiver, dict):
            named.append((("waivers", number, "id"), waiver.get("id")))
    named += [(("require", number), id) for number, id in enumerate(_list(found.values.get("require")))]
    for path, id in named:
        if not isinstance(id, str) or id not in waivable:
            raise found.error(f"there is no requirement {id!r}{suggestion(id, waivable)}", found.places.get(path))
        if path[0] == "waivers" and (id in NEVER_WAIVABLE or not waivable[id]):
            raise found.error(f"{id} cannot be waived", found.places.get(path))


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _with_dates(found: PolicyFile) -> dict[str, Any]:
    """The values, with the waivers' dates as dates. A waiver without a reason gets an empty one, and does not count."""
    waivers = []
    for number, waiver in enumerate(_list(found.values.get("waivers"))):
        whole = {"reason": "", **waiver} if isinstance(waiver, dict) else waiver
        if isinstance(whole, dict) and isinstance(whole["reason"], str):
            whole["reason"] = whole["reason"].strip()
        if isinstance(whole, dict) and isinstance(whole.get("until"), str):
            try:
                whole["until"] = date.fromisoformat(whole["until"])
            except ValueError:
                told = f"waivers[{number}].until is no date: {whole['until']!r}"
                raise found.error(told, found.places.get(("waivers", number, "until"))) from None
        waivers.append(whole)
    return {**found.values, "waivers": waivers} if "waivers" in found.values else found.values


def merge(lower: Mapping[str, Any], higher: Mapping[str, Any]) -> dict[str, Any]:
    """`higher` over `lower`: key by key inside groups, anything else as a whole."""
    result = dict(lower)
    for key, value in higher.items():
        old = result.get(key)
        result[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


def _decode(values: dict[str, Any], name: str) -> Policy:

    try:
        policy: Policy = codec.decode(Policy, values)
    except codec.CodecError as error:
        raise PolicyError(f"{name}{error}", hint="`cowgate validate FILE` checks a policy") from None
    return policy
