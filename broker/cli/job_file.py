"""A job in a file, YAML or JSON: members of jobs/create, some of them in the command line's shorter words."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import IO, Any, Final

import click

from broker.cli.brakes import Abort, Rate, Retry
from broker.cli.callers import Body
from broker.cli.gating import Gate, GateErrors, StageSizes, gated, soak_of
from broker.cli.kinds import Duration, TargetName, target_arn, template_arn

_OF_GATES: Final = ("gate", "soak", "gateErrors")


def read_job_file(file: IO[bytes]) -> Body:
    """The payload of jobs/create that a file comes to. Raises a usage error naming the member that is wrong."""
    said = _load(file)
    folder = Path(getattr(file, "name", "")).parent
    stages = said.pop("stages", None)
    gates: Body = {name: said.pop(name) for name in _OF_GATES if name in said}
    if gates and stages is None:
        raise _wrong(f"{', '.join(gates)} without stages")
    payload: Body = {} if stages is None else {"stages": _stages(stages, gates)}
    targets = [
        *_all(
            "targets", said.pop("targets", []), lambda one: TargetName().convert(one, None, None)
        ),
        *_all("things", said.pop("things", []), lambda one: target_arn("thing", str(one))),
        *_all("groups", said.pop("groups", []), lambda one: target_arn("thinggroup", str(one))),
    ]
    if targets:
        payload["targets"] = targets
    if "documentFile" in said:
        payload["document"] = _text(folder / str(said.pop("documentFile")))
    for name, value in said.items():
        if name not in _SHORT:
            payload[name] = value
            continue
        member, read = _SHORT[name]
        if member != name and member in said:
            raise _wrong(f"{name} and {member} say the same")
        payload[member] = _one(name, value, read)
    return payload


def _load(file: IO[bytes]) -> Body:
    # Imported here: most commands read no file.
    import yaml

    class Loader(yaml.SafeLoader):
        """Times stay as they are written; a member that stands twice is refused."""

        def construct_mapping(
            self,
            node: yaml.MappingNode,
            deep: bool = False,  # noqa: FBT002 - the base's
        ) -> dict[Hashable, Any]:
            names = [self.construct_object(key, deep=True) for key, _ in node.value]
            if twice := [name for name in names if names.count(name) > 1]:
                raise _wrong(f"{twice[0]} stands twice, at line {node.start_mark.line + 1}")
            return super().construct_mapping(node, deep)

    # The class has them of its base; these are its own.
    Loader.yaml_implicit_resolvers = {
        first: [one for one in resolvers if one[0] != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        found = yaml.load(file.read(), Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise _wrong(f"neither YAML nor JSON: {error}") from None
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise _wrong("not an object with members of a job")
    try:
        json.dumps(found)
    except (TypeError, ValueError) as error:
        raise _wrong(f"has what JSON has not: {error}") from None
    return {name: value for name, value in found.items() if value is not None}


def _wrong(words: str) -> click.UsageError:
    return click.UsageError(f"--file: {words}")


def _one(name: str, value: object, read: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - what a member holds
    try:
        return read(value)
    except click.BadParameter as error:
        raise _wrong(f"{name}: {error.message}") from None
    except (TypeError, ValueError, AttributeError) as error:
        raise _wrong(f"{name}: {value!r}: {error}") from None


def _all(name: str, value: object, read: Callable[[Any], str]) -> list[str]:
    return [_one(name, one, read) for one in _listed(value)]


def _listed(value: object) -> Sequence[object]:
    return value if isinstance(value, list) else [value]


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, ValueError) as error:
        raise _wrong(f"documentFile: {error}") from None


def _minutes(value: object) -> int:
    return math.ceil(Duration().convert(str(value), None, None) / 60)


def _timeout(value: object) -> Body:
    return {"inProgressTimeoutInMinutes": _minutes(value)}


def _rollout(value: object) -> Body:
    if isinstance(value, dict):
        return value
    return {"maximumPerMinute": Rate().convert(value, None, None)}


def _abort(value: object) -> Body:
    return {"criteriaList": [Abort().convert(one, None, None) for one in _listed(value)]}


def _retry(value: object) -> Body:
    if isinstance(value, dict):
        value = [f"{kind}={number}" for kind, number in value.items()]
    return {"criteriaList": [Retry().convert(one, None, None) for one in _listed(value)]}


def _tags(value: object) -> object:
    if not isinstance(value, dict):
        return value
    return [{"Key": str(key), "Value": str(word)} for key, word in value.items()]


def _selection(value: object) -> str:
    if not isinstance(value, bool):
        raise TypeError("is neither true nor false")
    return "CONTINUOUS" if value else "SNAPSHOT"


def _parameters(value: Body) -> dict[str, str]:
    return {name: str(word) for name, word in value.items()}


def _stages(value: object, gates: Body) -> list[Body]:
    found: list[Body] = []
    for one in _listed(value):
        found += [_stage(one)] if isinstance(one, dict) else _sizes(one)
    soak = gates.get("soak")
    return gated(
        found,
        _one("gate", gates["gate"], lambda one: Gate().convert(one, None, None))
        if "gate" in gates
        else None,
        None if soak is None else _one("soak", soak, lambda one: 60.0 * _minutes(one)),
        _one("gateErrors", gates["gateErrors"], lambda one: GateErrors().convert(one, None, None))
        if "gateErrors" in gates
        else None,
    )


def _sizes(value: object) -> list[Body]:
    found: list[Body] = _one(
        "stages", value, lambda one: StageSizes().convert(str(one), None, None)
    )
    return found


def _stage(said: Body) -> Body:
    """A stage with members of its own: size, gate, soak and gateErrors in short words, others as they are."""
    short: dict[str, Callable[[Any], Body]] = {
        "size": lambda one: StageSizes().convert(str(one), None, None)[0],
        "gate": lambda one: Gate().convert(one, None, None),
        "soak": lambda one: soak_of(60.0 * _minutes(one)),
        "gateErrors": lambda one: GateErrors().convert(one, None, None),
    }
    stage: Body = {}
    for name, value in said.items():
        stage |= _one(f"stages: {name}", value, short[name]) if name in short else {name: value}
    return stage


# A short word's member of jobs/create, and how it is read.
_SHORT: Final[dict[str, tuple[str, Callable[[Any], Any]]]] = {
    "timeout": ("timeoutConfig", _timeout),
    "rollout": ("jobExecutionsRolloutConfig", _rollout),
    "abort": ("abortConfig", _abort),
    "retry": ("jobExecutionsRetryConfig", _retry),
    "approvals": ("approvalConfig", lambda count: {"requiredApprovals": count}),
    "template": ("jobTemplateArn", lambda name: template_arn(str(name))),
    "parameters": ("documentParameters", _parameters),
    "continuous": ("targetSelection", _selection),
    "tags": ("tags", _tags),
}
