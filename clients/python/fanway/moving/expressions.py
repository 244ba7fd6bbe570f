"""Expressions of ARM templates, `[concat(parameters('prefix'), '/orders')]`, as far as a name or a setting needs them.

What only Azure knows (a resource group, a unique string, a resource's state) cannot be resolved here; it is an error
only where the value is needed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from fanway.errors import ConfigurationError

MAX_DEPTH = 32

_TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<number>-?[0-9]{1,9})|(?P<word>[A-Za-z_]\w*)|(?P<sign>[()\[\],.]))"
)
_PLACEHOLDER = re.compile(r"\{\{|\}\}|\{([0-9]{1,3})(?::[^{}]*)?\}")

Value = Any


class Unresolvable(ConfigurationError):
    """An expression cannot be resolved here; the message says why."""


class _Call(NamedTuple):
    name: str
    arguments: list[Any]


class _Member(NamedTuple):
    of: Any
    key: Any


class _Literal(NamedTuple):
    value: Value


class Scope:
    """What a template's expressions refer to: `given` parameters win over their defaults."""

    def __init__(self, template: Mapping[str, Any], given: Mapping[str, Value]) -> None:
        self._declared = {name.lower(): value for name, value in _mapping(template, "parameters").items()}
        self._variables = {name.lower(): value for name, value in _mapping(template, "variables").items()}
        self._given = {name.lower(): value for name, value in given.items()}
        self._open: list[str] = []  # what is being resolved

    def resolve(self, value: Value) -> Value:
        """A value of the template with every expression in it resolved. Raises `Unresolvable`."""
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        if isinstance(value, dict):
            return {name: self.resolve(item) for name, item in value.items()}
        return value

    def _text(self, text: str) -> Value:
        if not (text.startswith("[") and text.endswith("]")):
            return text
        if text.startswith("[["):
            return text[1:]
        return self._value(_Parser(text[1:-1]).parse())

    def _value(self, node: Any) -> Value:
        if isinstance(node, _Literal):
            return node.value
        if isinstance(node, _Member):
            return _member(self._value(node.of), self._value(node.key))
        assert isinstance(node, _Call)
        name = node.name.lower()
        if name == "if":
            if len(node.arguments) != 3:
                raise Unresolvable("if() takes three arguments.")
            return self._value(node.arguments[1 if self._value(node.arguments[0]) is True else 2])
        arguments = [self._value(argument) for argument in node.arguments]
        if name in ("parameters", "variables"):
            if len(arguments) != 1 or not isinstance(arguments[0], str):
                raise Unresolvable(f"{name}() takes one name.")
            return self._parameter(arguments[0]) if name == "parameters" else self._variable(arguments[0])
        function = _FUNCTIONS.get(name)
        if function is None:
            raise Unresolvable(f"{node.name}() cannot be resolved outside of Azure.")
        try:
            return function(*arguments)
        except (TypeError, ValueError, AttributeError, LookupError):
            raise Unresolvable(f"{node.name}() does not fit its arguments.") from None

    def _parameter(self, name: str) -> Value:
        key = name.lower()
        declared = self._declared.get(key)
        if not isinstance(declared, dict):
            raise Unresolvable(f"The template declares no parameter '{name}'.")
        if key in self._given:
            return _as_declared(name, declared.get("type"), self._given[key])
        if "defaultValue" not in declared:
            raise Unresolvable(
                f"The parameter '{name}' has no value: give --parameter {name}=VALUE or a parameters file."
            )
        return self._referred(f"parameter '{name}'", declared["defaultValue"])

    def _variable(self, name: str) -> Value:
        if name.lower() not in self._variables:
            raise Unresolvable(f"The template has no variable '{name}'.")
        return self._referred(f"variable '{name}'", self._variables[name.lower()])

    def _referred(self, what: str, value: Value) -> Value:
        if what.lower() in self._open or len(self._open) >= MAX_DEPTH:
            raise Unresolvable(f"The {what} refers to itself.")
        self._open.append(what.lower())
        try:
            return self.resolve(value)
        finally:
            self._open.pop()


class _Parser:
    """Recursive descent over one expression, without its brackets."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = self._split(text)
        self._depth = 0

    def parse(self) -> Any:
        node = self._expression()
        if self._tokens:
            raise self._fault()
        return node

    def _split(self, text: str) -> list[tuple[str, str]]:
        tokens, at, end = [], 0, len(text.rstrip())
        while at < end:
            match = _TOKEN.match(text, at)
            if match is None or match.lastgroup is None:
                raise self._fault()
            tokens.append((match.lastgroup, match.group(match.lastgroup)))
            at = match.end()
        return tokens[::-1]

    def _expression(self) -> Any:
        self._depth += 1
        if self._depth > MAX_DEPTH or not self._tokens:
            raise self._fault()
        kind, token = self._tokens.pop()
        node: Any
        if kind == "text":
            node = _Literal(token[1:-1].replace("''", "'"))
        elif kind == "number":
            node = _Literal(int(token))
        elif kind == "word" and self._take("("):
            node = _Call(token, self._arguments())
        else:
            raise self._fault()
        while True:
            if self._take("."):
                kind, token = self._tokens.pop() if self._tokens else ("", "")
                if kind != "word":
                    raise self._fault()
                node = _Member(node, _Literal(token))
            elif self._take("["):
                node = _Member(node, self._expression())
                if not self._take("]"):
                    raise self._fault()
            else:
                self._depth -= 1
                return node

    def _arguments(self) -> list[Any]:
        if self._take(")"):
            return []
        arguments = [self._expression()]
        while self._take(","):
            arguments.append(self._expression())
        if not self._take(")"):
            raise self._fault()
        return arguments

    def _take(self, sign: str) -> bool:
        if self._tokens and self._tokens[-1] == ("sign", sign):
            self._tokens.pop()
            return True
        return False

    def _fault(self) -> Unresolvable:
        return Unresolvable(f"'[{self._text[:100]}]' is no template expression.")


def _as_declared(name: str, kind: Any, value: Value) -> Value:
    """A given value; text that should be something else is JSON."""
    if not isinstance(value, str) or not isinstance(kind, str) or kind.lower() in ("string", "securestring"):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        raise Unresolvable(f"The parameter '{name}' should be {kind}: {value[:40]!r} is not JSON.") from None


def _mapping(template: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = template.get(name)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise ConfigurationError(f"{name}: should hold an object")
    return found


def _member(of: Value, key: Value) -> Value:
    if isinstance(of, dict) and isinstance(key, str):
        for name, value in of.items():
            if name.lower() == key.lower():
                return value
    if isinstance(of, list | str) and isinstance(key, int) and -len(of) <= key < len(of):
        return of[key]
    raise Unresolvable(f"There is no member '{key}'.")


def _text_of(value: Value) -> str:
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, str | int):
        return str(value)
    raise TypeError


def _concat(*values: Value) -> Value:
    if values and all(isinstance(value, list) for value in values):
        return [item for value in values for item in value]
    return "".join(map(_text_of, values))


def _format(pattern: str, *values: Value) -> str:
    def filled(match: re.Match[str]) -> str:
        return match.group()[0] if match.group(1) is None else _text_of(values[int(match.group(1))])

    return _PLACEHOLDER.sub(filled, pattern)


def _resource_id(*values: Value) -> str:
    """`[subscription, [group,]] type, names…`: the id, with a dash for what is not known here."""
    texts = list(map(_text_of, values))
    at = ["/" in text for text in texts[:-1]].index(True)
    provider, *kinds = texts[at].split("/")
    names = texts[at + 1 :]
    if len(kinds) != len(names) or at > 2:
        raise ValueError
    subscription, group = ["-", "-", *texts[:at]][-2:]
    tail = "/".join(f"{kind}/{name}" for kind, name in zip(kinds, names, strict=True))
    return f"/subscriptions/{subscription}/resourceGroups/{group}/providers/{provider}/{tail}"


def _equals(left: Value, right: Value) -> bool:
    if isinstance(left, str) and isinstance(right, str):
        return left.lower() == right.lower()
    return type(left) is type(right) and bool(left == right)


def _boolean(value: Value) -> bool:
    if isinstance(value, str):
        return {"true": True, "false": False}[value.lower()] if value.lower() in ("true", "false") else bool(int(value))
    return bool(value)


_FUNCTIONS: Mapping[str, Callable[..., Value]] = {
    "and": lambda *values: all(values),
    "bool": _boolean,
    "concat": _concat,
    "createarray": lambda *values: list(values),
    "empty": lambda value: value is None or len(value) == 0,
    "equals": _equals,
    "false": lambda: False,
    "first": lambda value: value[0],
    "format": _format,
    "int": lambda value: int(value),
    "last": lambda value: value[-1],
    "length": lambda value: len(value),
    "not": lambda value: not value,
    "null": lambda: None,
    "or": lambda *values: any(values),
    "replace": lambda text, old, new: text.replace(old, new),
    "resourceid": _resource_id,
    "split": lambda text, mark: text.split(mark),
    "string": _text_of,
    "tolower": lambda text: text.lower(),
    "toupper": lambda text: text.upper(),
    "trim": lambda text: text.strip(),
    "true": lambda: True,
}
