"""Who is asking, and what they may do. Keys are compared by digest, in constant time."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

from tooln1_agent.config import ApiKey, Right
from tooln1_agent.server.problems import ApiError


@dataclass(frozen=True, slots=True)
class Principal:
    """The holder of a key."""

    name: str
    rights: frozenset[Right]

    def may(self, right: Right) -> bool:
        """Tell whether a right was given, by itself or as part of `admin`."""
        return right in self.rights or "admin" in self.rights


LOCAL = Principal("local", frozenset({"admin"}))
"""Everybody, where no keys are configured."""


class Keyring:
    """The keys that are configured; without any, everybody is `LOCAL`."""

    def __init__(self, keys: Sequence[ApiKey]) -> None:
        self._keys = tuple(
            (_digest(key), Principal(key.name, frozenset(key.rights))) for key in keys
        )

    def principal(self, authorization: str | None, *, right: Right) -> Principal:
        """Return who asks.

        Args:
            authorization: the header's value.

        Raises:
            ApiError: 401 for a missing or wrong key, 403 where `right` was not given.
        """
        if not self._keys:
            return LOCAL
        scheme, _, secret = (authorization or "").partition(" ")
        if scheme.lower() != "bearer" or not secret.strip():
            raise ApiError(
                401,
                "an API key is needed: send `Authorization: Bearer KEY`",
                code="missing_api_key",
            )
        shown = hashlib.sha256(secret.strip().encode("utf-8", "surrogateescape")).hexdigest()
        holder = None
        for digest, principal in self._keys:  # all of them, so that time tells nothing
            if hmac.compare_digest(digest, shown):
                holder = principal
        if holder is None:
            raise ApiError(401, "this API key is not known here", code="invalid_api_key")
        if not holder.may(right):
            raise ApiError(
                403,
                f"key {holder.name!r} lacks the right {right!r}; the operator can add it to the "
                "key's `rights`",
                code="missing_right",
            )
        return holder


def _digest(key: ApiKey) -> str:
    if key.sha256 is not None:
        return key.sha256
    assert key.secret is not None  # by the key's validator
    return hashlib.sha256(key.secret.get_secret_value().encode()).hexdigest()
