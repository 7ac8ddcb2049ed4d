# SPDX-License-Identifier: Apache-2.0
"""The blocks of a program as nested choices, which is the form in which Qiskit has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qrmi_core import InputError, LimitExceeded
from qrmi_qiskit.felis.instructions import RECORDS
from qrmi_qiskit.felis.qir import INVALID, Block, Call

__all__ = ["Choice", "Step", "nested"]

MOST_BLOCKS = 2000
DEEPEST = 50


@dataclass(frozen=True, slots=True)
class Choice:
    """What follows if a result is 1, and what if it is 0."""

    result: int
    one: tuple[Step, ...]
    zero: tuple[Step, ...]


Step = Call | Choice


def nested(blocks: Sequence[Block]) -> tuple[Step, ...]:
    """The program from its first block on.

    Raises:
        InputError: a branch goes back or to a block that is not there, or two choices overlap.
        LimitExceeded: there are more blocks, or they are nested deeper, than is sensible.
    """
    if len(blocks) > MOST_BLOCKS:
        raise LimitExceeded(f"the program has {len(blocks)} blocks; at most {MOST_BLOCKS} are taken", code=INVALID)
    position = {block.name: index for index, block in enumerate(blocks)}
    for index, block in enumerate(blocks):
        for name in block.follows:
            if name not in position:
                raise _wrong(block, f"goes on in the block {name}, which is not there")
            if position[name] <= index:
                raise _wrong(block, f"goes back to the block {name}: loops are not taken")
    return _Nesting(blocks, position).until(0, len(blocks), 0)


class _Nesting:
    def __init__(self, blocks: Sequence[Block], position: dict[str, int]) -> None:
        self._blocks = blocks
        self._next = [[position[name] for name in block.follows] for block in blocks]
        self._join = self._joins()
        self._seen: set[int] = set()

    def _joins(self) -> list[int]:
        """For each block the first one that every way from it goes through; the number of blocks stands for the end."""
        end = len(self._blocks)
        joins = [end] * end
        for index in reversed(range(end)):
            ways = self._next[index]
            if ways:
                meeting = ways[0]
                for other in ways[1:]:
                    one = meeting
                    while one != other:
                        if one < other:
                            one = joins[one]
                        else:
                            other = joins[other]
                    meeting = one
                joins[index] = meeting
        return joins

    def until(self, index: int, stop: int, depth: int) -> tuple[Step, ...]:
        """The steps from one block to another, which is left out."""
        steps: list[Step] = []
        while index != stop:
            block = self._blocks[index]
            if index in self._seen:
                raise _wrong(block, "is reached in several ways that do not meet before it")
            self._seen.add(index)
            if depth and any(call.gate == RECORDS for call in block.calls):
                raise _wrong(block, "records output, and only some shots come there")
            steps += block.calls
            if block.condition is not None:
                if depth >= DEEPEST:
                    raise LimitExceeded(
                        f"line {block.line}: choices are nested deeper than {DEEPEST} times", code=INVALID
                    )
                one, zero = (self.until(way, self._join[index], depth + 1) for way in self._next[index])
                if one or zero:
                    steps.append(Choice(block.condition, one, zero))
            index = self._join[index]
        return tuple(steps)


def _wrong(block: Block, problem: str) -> InputError:
    return InputError(f"line {block.line}: the block {block.name or 'at the beginning'} {problem}", code=INVALID)
