"""Keys and values of prompts: a stretch of tokens that several prompts begin with is kept once.

For each adapter there is a tree. A node is a segment: some tokens, and their keys and values after
the tokens of its parents. A prompt is a path from the root; prompts that begin alike share the
beginning of their paths, while requests run and after they have ended. What no request uses goes
when room is needed, the longest unused first.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from torch import Tensor

Layers = Sequence[tuple[Tensor, Tensor]]
"""For each layer keys and values, (K, T, D): key heads, tokens, head size."""

_WORTH_SHARING = 16
"""A shorter common beginning is kept twice: every segment costs operations at each token."""


@dataclass(slots=True, eq=False)
class Segment:
    """Some tokens of a prompt, in a tree of such."""

    tokens: tuple[int, ...]
    start: int
    """Place of the first token in the prompt."""
    layers: Layers
    parent: Segment | None
    children: list[Segment] = field(default_factory=list)
    users: int = 0
    """Rows whose prompt ends here; it stays as long as there are any."""
    last_used: int = 0

    def path(self) -> list[Segment]:
        """Return the segments from the beginning of the prompt to this one."""
        path, node = [], self
        while node.parent is not None:
            path.append(node)
            node = node.parent
        return path[::-1]


class Prefixes:
    """What is known of prompts, by adapter: another adapter's keys and values are never right."""

    def __init__(self) -> None:
        self._roots: dict[str | None, Segment] = {}
        self._now = 0
        self.tokens = 0
        """How many tokens are kept, in use or not."""

    def match(self, adapter: str | None, prompt_ids: Sequence[int]) -> list[tuple[Segment, int]]:
        """Return segments that the prompt begins with, each with how many of its tokens do."""
        self._now += 1
        node, at, found = self._root(adapter), 0, []
        while step := _next(node, prompt_ids, at):
            node, shared = step
            node.last_used = self._now
            found.append(step)
            at += shared
            if shared < len(node.tokens):
                break
        return found

    def insert(self, adapter: str | None, prompt_ids: Sequence[int], layers: Layers) -> Segment:
        """Keep what is not known yet of a prompt; return the segment that it ends with.

        The caller is counted among its users.

        Args:
            layers: of the whole prompt; copied.
        """
        self._now += 1
        node, at = self._root(adapter), 0
        while at < len(prompt_ids):
            step = _next(node, prompt_ids, at)
            if step is None:
                node, at = self._add(node, prompt_ids, at, layers), len(prompt_ids)
            else:
                child, shared = step
                node = child if shared == len(child.tokens) else _split(child, shared)
                at += shared
            node.last_used = self._now
        node.users += 1
        return node

    def evict(self) -> bool:
        """Drop the segment that was unused for longest; tell whether there was one."""
        unused = [s for root in self._roots.values() for s in _leaves(root) if not s.users]
        if not unused:
            return False
        oldest = min(unused, key=lambda segment: segment.last_used)
        assert oldest.parent is not None
        oldest.parent.children.remove(oldest)
        self.tokens -= len(oldest.tokens)
        return True

    def forget(self, adapter: str | None) -> None:
        """Drop all that is known under an adapter; nobody may use it any more."""
        root = self._roots.pop(adapter, None)
        if root is not None:
            self.tokens -= sum(len(segment.tokens) for segment in _below(root))

    def _root(self, adapter: str | None) -> Segment:
        return self._roots.setdefault(adapter, Segment((), 0, (), None))

    def _add(self, parent: Segment, prompt_ids: Sequence[int], at: int, layers: Layers) -> Segment:
        rest = tuple((keys[:, at:].clone(), values[:, at:].clone()) for keys, values in layers)
        child = Segment(tuple(prompt_ids[at:]), at, rest, parent)
        parent.children.append(child)
        self.tokens += len(child.tokens)
        return child


def _next(node: Segment, prompt_ids: Sequence[int], at: int) -> tuple[Segment, int] | None:
    """Return the child that goes on most like the prompt, and how many of its tokens do."""
    if not node.children or at == len(prompt_ids):
        return None
    alike = [(_shared(child.tokens, prompt_ids, at), child) for child in node.children]
    shared, child = max(alike, key=lambda pair: pair[0])
    is_worth_it = shared == len(child.tokens) or shared >= _WORTH_SHARING
    return (child, shared) if is_worth_it else None


def _shared(tokens: Sequence[int], prompt_ids: Sequence[int], at: int) -> int:
    """Count the tokens that the prompt has from `at` on."""
    count = 0
    for token, own in zip(tokens, prompt_ids[at : at + len(tokens)], strict=False):
        if token != own:
            break
        count += 1
    return count


def _split(segment: Segment, size: int) -> Segment:
    """Cut a segment in two and return the first part; the object itself becomes the second.

    So rows that end with it still do.
    """
    parent = segment.parent
    assert parent is not None
    head_layers, tail_layers = (
        tuple((keys[:, part].clone(), values[:, part].clone()) for keys, values in segment.layers)
        for part in (slice(None, size), slice(size, None))
    )
    head = Segment(segment.tokens[:size], segment.start, head_layers, parent, [segment])
    parent.children[parent.children.index(segment)] = head
    segment.tokens, segment.start = segment.tokens[size:], segment.start + size
    segment.layers, segment.parent = tail_layers, head
    return head


def _below(root: Segment) -> Iterator[Segment]:
    """Yield all segments under a root."""
    waiting = list(root.children)
    while waiting:
        segment = waiting.pop()
        waiting.extend(segment.children)
        yield segment


def _leaves(root: Segment) -> Iterator[Segment]:
    return (segment for segment in _below(root) if not segment.children)
