"""Pickles read as data: a stack machine of its own that calls nothing a file names.

A pickle is a program; Python's reader runs it. Here every opcode is carried out on plain lists,
dicts, tuples, sets, strings and numbers, and the few globals that network files need are looked up
in a table of functions of ours that make inert values. Any other name ends the reading, as does
any opcode that is not in the table below, so protocol 0, ``INST``, ``OBJ``, extension codes and
out-of-band buffers have no meaning here.

Memory is bounded by a multiple of the file's length: an opcode gets no more bytes than the file
still has, and what is copied (strings re-encoded, lists made into sets) is counted against the
file's length, so that a few bytes cannot repeat a long object. So is the value that comes out,
written in full: (x, x) of (x, x) of .. would else be endless for whoever prints or compares it.

Source of the format: ``pickletools`` of the standard library.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import numpy as np


@dataclass(frozen=True)
class Global:
    """A name that a file mentions, "module.name"; it stands for nothing by itself."""

    name: str


@dataclass(eq=False)
class Record:
    """An object as the file describes it: the name of its class and its attributes."""

    name: str
    state: dict[str, Any] = field(default_factory=dict)


class Machine:
    """One pickle after the other from a stream of ``size`` bytes.

    ``calls`` gives the functions that stand for names, each called with (machine, *arguments);
    ``persistent`` gives the object that a persistent id stands for.
    """

    def __init__(
        self,
        stream: BinaryIO,
        size: int,
        *,
        calls: Mapping[str, Callable[..., Any]],
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self.stream, self.size, self.calls, self.persistent = stream, size, calls, persistent
        self._copied = 0

    def spend(self, count: int) -> None:
        """Count a copy of ``count`` bytes or entries; honest files need twice theirs."""
        self._copied += count
        if self._copied > 4 * self.size:
            raise ValueError("repeats an object to more than the file holds")

    def read(self) -> Any:
        """The object of the next pickle.

        Raises:
            ValueError: the stream is damaged, or names what is not in ``calls``.
        """
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        try:
            for opcode, argument, _ in pickletools.genops(self.stream):
                step = STEPS.get(opcode.name)
                if step is None:
                    raise ValueError(f"uses {opcode.name} {shown(argument)}".rstrip())
                step(self, argument)
            (value,) = self._stack
            self._written_out(value)
        except (IndexError, KeyError, TypeError, AttributeError, OverflowError) as error:
            raise ValueError(f"is damaged: {type(error).__name__} in its pickle") from None
        return value

    def _written_out(self, value: Any) -> None:
        """Count a value's parts, one that is in several places in each of them."""
        rest = [value]
        while rest:
            part = rest.pop()
            inner = part.state if type(part) is Record else part
            if isinstance(inner, dict | list | tuple | set | frozenset):
                self.spend(len(inner))
                rest.extend(inner.values() if isinstance(inner, dict) else inner)

    def push(self, value: Any) -> None:
        """Put a value on the stack."""
        self._stack.append(value)

    def pop(self) -> Any:
        """Take the last value."""
        return self._stack.pop()

    def last(self, count: int) -> tuple[Any, ...]:
        """Take the last values, in their order."""
        return tuple(self.pop() for _ in range(count))[::-1]

    def mark(self) -> None:
        """Begin a run of values."""
        self._marks.append(self._stack)
        self._stack = []

    def run(self) -> list[Any]:
        """The values since the last mark."""
        values, self._stack = self._stack, self._marks.pop()
        return values

    def keep(self, index: int | None = None) -> None:
        """Number the last value."""
        self._memo[len(self._memo) if index is None else int(index)] = self._stack[-1]

    def recall(self, index: int) -> None:
        """Push a numbered value."""
        self.push(self._memo[int(index)])

    def name(self, *parts: Any) -> None:
        """Push the global of a module and a name, if it is known."""
        if not all(type(p) is str for p in parts):
            raise ValueError("names what is no text")
        full = ".".join(parts)
        if full not in self.calls:
            raise ValueError(f"names {shown(full)}")
        self.push(Global(full))

    def call(self, arguments: Any) -> None:
        """The function of ours that stands for the name on the stack."""
        callee = self.pop()
        if type(callee) is not Global or type(arguments) is not tuple:
            raise ValueError("calls what is not a name")
        self.push(self.calls[callee.name](self, *arguments))

    def extend(self, values: list[Any]) -> None:
        """Append to the list on the stack."""
        target = self._stack[-1]
        if type(target) is not list:
            raise ValueError(f"appends to a {type(target).__name__}")
        target.extend(values)

    def assign(self, values: list[Any]) -> None:
        """Set keys and values of the dict on the stack."""
        target = self._stack[-1]
        if type(target) is not dict:
            raise ValueError(f"sets items of a {type(target).__name__}")
        target.update(pairs(values))

    def include(self, values: list[Any]) -> None:
        """Add to the set on the stack."""
        target = self._stack[-1]
        if type(target) is not set:
            raise ValueError(f"adds to a {type(target).__name__}")
        target.update(scalar(v) for v in values)

    def state(self) -> None:
        """Give attributes to the record on the stack; those of plain values are dropped."""
        given, target = self.pop(), self._stack[-1]
        if type(target) is Record and type(given) is dict:
            target.state.update(given)
        elif isinstance(target, np.dtype):
            self._stack[-1] = ordered(target, given)
        elif type(target) is not dict:
            raise ValueError(f"sets attributes of a {type(target).__name__}")

    def refer(self) -> None:
        """The object of a persistent id."""
        identity = self.pop()
        if self.persistent is None:
            raise ValueError("refers to objects outside the file")
        self.push(self.persistent(identity))


def scalar(value: Any) -> Any:
    """A key; containers would let a few bytes ask for endless hashing."""
    if not isinstance(value, str | int | float | bytes | type(None)):
        raise ValueError(f"uses a {type(value).__name__} as a key")
    return value


def pairs(values: Sequence[Any]) -> dict[Any, Any]:
    """[k, v, k, v, ..] as a dict."""
    return {scalar(k): v for k, v in zip(values[::2], values[1::2], strict=True)}


def ordered(dtype: np.dtype[Any], state: Any) -> np.dtype[Any]:
    """The dtype with the byte order of its pickled state (version, order, None, ..)."""
    order, *rest = state[1:5] if type(state) is tuple else [None]
    if rest != [None] * 3 or order not in ("<", ">", "|", "="):
        raise ValueError("describes a numpy dtype of more than one number")
    return dtype.newbyteorder(order)


def shown(value: Any) -> str:
    """A value of the file in a message: printable, one line, short."""
    plain = isinstance(value, str | int | float | bytes)
    text = "" if value is None else str(value) if plain else type(value).__name__
    return ascii(text.replace(" ", ".", 1))[1:-1][:80]


def _dotted(machine: Machine, argument: str) -> None:
    machine.name(*argument.split(" ", 1))


def _ignore(machine: Machine, argument: Any) -> None:
    """Protocol and frame lengths, which say nothing about the value."""


STEPS: dict[str, Callable[[Machine, Any], Any]] = {
    "PROTO": _ignore,
    "FRAME": _ignore,
    "STOP": _ignore,
    "MARK": lambda m, _: m.mark(),
    "POP": lambda m, _: m.pop(),
    "POP_MARK": lambda m, _: m.run(),
    "NONE": lambda m, _: m.push(None),
    "NEWTRUE": lambda m, _: m.push(True),
    "NEWFALSE": lambda m, _: m.push(False),
    "EMPTY_TUPLE": lambda m, _: m.push(()),
    "EMPTY_LIST": lambda m, _: m.push([]),
    "EMPTY_DICT": lambda m, _: m.push({}),
    "EMPTY_SET": lambda m, _: m.push(set()),
    "TUPLE1": lambda m, _: m.push((m.pop(),)),
    "TUPLE2": lambda m, _: m.push(m.last(2)),
    "TUPLE3": lambda m, _: m.push(m.last(3)),
    "TUPLE": lambda m, _: m.push(tuple(m.run())),
    "LIST": lambda m, _: m.push(m.run()),
    "DICT": lambda m, _: m.push(pairs(m.run())),
    "FROZENSET": lambda m, _: m.push(frozenset(map(scalar, m.run()))),
    "APPEND": lambda m, _: m.extend([m.pop()]),
    "APPENDS": lambda m, _: m.extend(m.run()),
    "SETITEM": lambda m, _: m.assign(list(m.last(2))),
    "SETITEMS": lambda m, _: m.assign(m.run()),
    "ADDITEMS": lambda m, _: m.include(m.run()),
    "GLOBAL": _dotted,
    "STACK_GLOBAL": lambda m, _: m.name(*m.last(2)),
    "REDUCE": lambda m, _: m.call(m.pop()),
    "NEWOBJ": lambda m, _: m.call(m.pop()),
    "BUILD": lambda m, _: m.state(),
    "BINPERSID": lambda m, _: m.refer(),
    **dict.fromkeys(("MEMOIZE", "BINPUT", "LONG_BINPUT"), Machine.keep),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), Machine.recall),
    **dict.fromkeys(
        "BININT BININT1 BININT2 LONG1 LONG4 BINFLOAT SHORT_BINUNICODE BINUNICODE BINUNICODE8"
        " SHORT_BINBYTES BINBYTES BINBYTES8".split(),
        Machine.push,
    ),
}
"""What each opcode does."""
