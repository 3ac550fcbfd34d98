"""JSON that carries its own digest: a file in which any byte was changed after it was written is refused."""

import hashlib
import json
from collections.abc import Mapping

DIGEST = "sha256"


def sealed(values: Mapping[str, object]) -> bytes:
    """Return values as JSON whose last key is the digest of the others."""
    plain = json.loads(json.dumps(values, allow_nan=False))
    return _encoded({**plain, DIGEST: digest_of(plain)})


def opened(content: bytes) -> dict[str, object]:
    """Return the values of sealed JSON, without their digest; raises ValueError where any byte is another."""
    try:
        values = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"it is no JSON ({error})") from error
    if not isinstance(values, dict):
        raise ValueError(f"found {type(values).__name__}, expected a JSON object")
    digest = values.pop(DIGEST, None)
    # Encoded again: a changed space or spelling of a number leaves the values as they were.
    if digest != digest_of(values) or _encoded({**values, DIGEST: digest}) != content:
        raise ValueError("its content is not what its digest says (truncated or changed)")
    return values


def digest_of(values: Mapping[str, object]) -> str:
    """Return the digest of plain JSON values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _encoded(values: Mapping[str, object]) -> bytes:
    return f"{json.dumps(values, indent=1)}\n".encode()
