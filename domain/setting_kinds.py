"""The kinds of text an option can hold, each a check that turns a good text into its canonical form and refuses the rest.

Numbers are read exactly and within bounds: a price never passes through a float, and no text can ask for endless digits.
"""

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from fractions import Fraction
from typing import Final, Never, cast

from domain.errors import DomainError
from domain.units import ratio_text

MAX_RATIOS: Final = 10_000
MAX_RATIO: Final = 1_000_000
MAX_NUMBER: Final = 1_000_000_000_000
MAX_DECIMALS: Final = 40
_JSON_DECIMALS: Final = 16
_MAX_SHOWN: Final = 60

Check = Callable[[str, str], str]
"""(key, text) to the canonical text; raises InvalidSetting."""


class InvalidSetting(DomainError, ValueError):
    """A text that its key cannot hold. `expected` and `got` say it to a person; `got` never shows a secret."""

    def __init__(self, key: str, expected: str, got: str) -> None:
        super().__init__(f"{key}: expected {expected}, got {got}")
        self.key = key
        self.expected = expected
        self.got = got


def is_secret(key: str) -> bool:
    """Whether lists leave the value out: keys that end in Token, Secret or Key, and OIDC's client secret."""
    return key.endswith(("Token", "Secret", "Key", ".client_secret"))


def refuse(key: str, expected: str, text: str) -> Never:
    """Raise InvalidSetting with a short form of the text; a secret is not shown."""
    shown = text if len(text) <= _MAX_SHOWN else text[:_MAX_SHOWN] + "..."
    raise InvalidSetting(key, expected, "a text that is not shown" if is_secret(key) else repr(shown))


def any_text(_key: str, text: str) -> str:
    """Any text, kept as it is."""
    return text


def flag(key: str, text: str) -> str:
    """`true` or `false`."""
    word = text.strip().lower()
    if word not in ("true", "false"):
        refuse(key, "true or false", text)
    return word


def lower_lines(_key: str, text: str) -> str:
    """One entry a line, in small letters, blank lines dropped."""
    return "\n".join(line.strip().lower() for line in text.splitlines() if line.strip())


def choice(*choices: str) -> Check:
    """One of a few words."""

    def check(key: str, text: str) -> str:
        if text not in choices:
            refuse(key, " or ".join(choices), text)
        return text

    return check


def whole(low: int, high: int) -> Check:
    """A whole number within bounds."""

    def check(key: str, text: str) -> str:
        number = parse_whole(key, text)
        if not low <= number <= high:
            refuse(key, f"a whole number from {low:,} to {high:,}", text)
        return str(number)

    return check


def number(low: str, high: str) -> Check:
    """A decimal number within bounds, written without an exponent."""
    lowest, highest = Decimal(low), Decimal(high)

    def check(key: str, text: str) -> str:
        parsed = parse_decimal(key, text)
        if not lowest <= parsed <= highest:
            refuse(key, f"a number from {low} to {high}", text)
        return ratio_text(Fraction(parsed))

    return check


def ratios(key: str, text: str) -> str:
    """A JSON object of multipliers: sorted names, numbers written without an exponent."""
    return ratio_json({name: ratio_text(ratio) for name, ratio in parse_ratios(key, text).items()})


def shaped(expected: str, is_shaped: Callable[[object], bool]) -> Check:
    """JSON of one shape, kept as it was written."""

    def check(key: str, text: str) -> str:
        if not is_shaped(parse_json(key, text)):
            refuse(key, expected, text)
        return text.strip()

    return check


def is_texts(value: object) -> bool:
    """A JSON array of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in cast("list[object]", value))


def is_text_map(value: object) -> bool:
    """A JSON object of texts."""
    return _is_map(value, lambda item: isinstance(item, str))


def is_count_map(value: object) -> bool:
    """A JSON object of whole numbers that are not negative."""
    return _is_map(value, lambda item: type(item) is int and item >= 0)


def is_header_map(value: object) -> bool:
    """Model to header to a list of values."""
    return _is_map(value, lambda headers: _is_map(headers, is_texts))


def is_pairs(value: object) -> bool:
    """A JSON array of objects with one name and one text each."""
    return isinstance(value, list) and all(
        is_text_map(item) and len(cast("dict[str, object]", item)) == 1 for item in cast("list[object]", value)
    )


def parse_whole(key: str, text: str) -> int:
    """A whole number of at most MAX_NUMBER, in either direction."""
    digits = text.strip()
    if len(digits) <= len(str(-MAX_NUMBER)) and digits.isascii() and digits.removeprefix("-").isdigit():
        return int(digits)
    refuse(key, "a whole number", text)


def parse_decimal(key: str, text: str) -> Decimal:
    """A decimal number, exactly as written. Exponents are bounded, or ten bytes could ask for a billion digits."""
    digits = text.strip()
    parsed = _decimal(digits) if len(digits) <= 2 * MAX_DECIMALS and digits.isascii() and "_" not in digits else None
    if parsed is None:
        refuse(key, "a decimal number such as 7.3", text)
    return parsed


def parse_ratios(key: str, text: str) -> dict[str, Fraction]:
    """Multipliers by name from a JSON object of numbers, each exactly as written, never by way of a float.

    Raises:
        InvalidSetting: not an object, more than MAX_RATIOS names, a name twice, or a number that is not in 0..MAX_RATIO.
    """
    decoded = parse_json(key, text)
    if not isinstance(decoded, dict) or len(cast("dict[str, object]", decoded)) > MAX_RATIOS:
        refuse(key, f"a JSON object of at most {MAX_RATIOS:,} names and numbers", text)
    return {name: _ratio(key, name, value) for name, value in cast("dict[str, object]", decoded).items()}


def parse_json(key: str, text: str) -> object:
    """Decoded JSON; a number with a point or an exponent is a Decimal.

    Raises:
        InvalidSetting: not JSON, nested too deeply, NaN or Infinity, a number out of bounds, a name given twice, or half
            a surrogate pair, which JSON can escape and UTF-8 cannot write.
    """

    def constant(name: str) -> Never:
        refuse(key, "finite numbers", name)

    def unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
        seen: dict[str, object] = {}
        for name, value in pairs:
            if name in seen:
                refuse(key, "every name once", name)
            seen[name] = value
        return seen

    try:
        decoded: object = json.loads(
            text,
            parse_float=lambda digits: parse_decimal(key, digits),
            parse_int=lambda digits: parse_whole(key, digits),
            parse_constant=constant,
            object_pairs_hook=unique,
        )
    except (json.JSONDecodeError, RecursionError):
        refuse(key, "JSON", text)
    if "\\u" in text and not _is_writable(decoded):
        refuse(key, "text that UTF-8 can write", text)
    return decoded


def ratio_json(exact: Mapping[str, str]) -> str:
    """The family's shape of a table. JSON has no fractions: 5/73 is written to sixteen decimals."""
    pairs = (f"{json.dumps(name, ensure_ascii=False)}:{_json_number(exact[name])}" for name in sorted(exact))
    return "{" + ",".join(pairs) + "}"


def _is_writable(decoded: object) -> bool:
    try:
        json.dumps(decoded, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True


def _json_number(exact: str) -> str:
    return ratio_text(round(Fraction(exact), _JSON_DECIMALS)) if "/" in exact else exact


def _ratio(key: str, name: str, value: object) -> Fraction:
    # bool is an int to Python, not to a price.
    if isinstance(value, int | Decimal) and not isinstance(value, bool) and 0 <= value <= MAX_RATIO:
        return Fraction(value)
    refuse(key, f"a number from 0 to {MAX_RATIO:,} for {name[:_MAX_SHOWN]!r}", str(value))


def _decimal(digits: str) -> Decimal | None:
    try:
        parsed = Decimal(digits)
    except ArithmeticError:
        return None
    exponent = parsed.as_tuple().exponent
    is_bounded = isinstance(exponent, int) and -MAX_DECIMALS <= exponent <= MAX_DECIMALS
    return parsed if is_bounded and abs(parsed) <= MAX_NUMBER else None


def _is_map(value: object, is_item: Callable[[object], bool]) -> bool:
    return isinstance(value, dict) and all(is_item(item) for item in cast("dict[str, object]", value).values())
