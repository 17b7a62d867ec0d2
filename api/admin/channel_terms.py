"""From the texts that a client sends to the terms that a channel has: each is read once, here, and refused by its name.

What is not given stays as it was, so a client may send one field or all of them.
"""

import json
from collections.abc import Callable
from typing import cast
from urllib.parse import urlsplit

from api.admin.channel_shape import ChannelFields
from api.admin.refusals import Invalid, invalid
from domain.channel import MAX_MODEL_NAME_BYTES, MAX_MODELS, Type
from domain.events import ChannelTerms
from relay.providers.compatible import PROVIDERS
from relay.proxies import NoProxy, proxy_url

MAX_GROUPS = 100
SERVED_TYPES = frozenset({*PROVIDERS, int(Type.SANDBOX)})


def terms_from(given: ChannelFields, old: ChannelTerms) -> ChannelTerms:
    """The terms that a channel has afterwards. Raises Invalid, naming the field."""
    terms = ChannelTerms(
        type=_type(given.type, old.type),
        name=given.name or old.name,
        base_url=_kept(given.base_url, old.base_url, _url),
        models=_models(given.models) or old.models,
        groups=_groups(given.group) or old.groups,
        priority=old.priority if given.priority is None else given.priority,
        weight=old.weight if given.weight is None else given.weight,
        model_mapping=_mapping("model_mapping", given.model_mapping, old.model_mapping),
        status_code_mapping=_statuses(given.status_code_mapping, old.status_code_mapping),
        model_prefix=_kept(given.model_prefix, old.model_prefix, str.strip),
        openai_organization=_kept(given.openai_organization, old.openai_organization, str.strip),
        test_model=_kept(given.test_model, old.test_model, str.strip),
        other=_kept(given.other, old.other, str),
        tag=_kept(given.tag, old.tag, str.strip),
        auto_ban=old.auto_ban if given.auto_ban is None else bool(given.auto_ban),
        setting=_kept(given.setting, old.setting, _setting),
        param_override=_kept(
            given.param_override, old.param_override, lambda text: _object_text("param_override", text)
        ),
    )
    if terms.type == Type.CUSTOM and not terms.base_url:
        raise Invalid(
            "base_url: expected the address of the upstream, which a channel of type 8 (custom) does not know"
        )
    return terms


def _kept(given: str | None, old: str, read: Callable[[str], str]) -> str:
    return old if given is None else read(given)


def _type(given: int, old: int) -> int:
    """Only what the relay can serve; a type that a migrated channel has already may stay."""
    if given in (0, old) or given in SERVED_TYPES:
        return given or old
    served = ", ".join(str(number) for number in sorted(SERVED_TYPES))
    raise invalid("type", f"one that this release relays to ({served})", given)


def _url(text: str) -> str:
    text = text.strip()
    if not text:
        return ""
    try:
        parts = urlsplit(text)
        is_one = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_one = False
    if not is_one or not text.isprintable() or " " in text:
        raise Invalid("base_url: expected an address such as https://api.example.com, or none for the type's own")
    return text


def _models(text: str) -> tuple[str, ...]:
    """Names with commas or line ends between them, each once."""
    names = _listed(text)
    if len(names) > MAX_MODELS:
        raise Invalid(f"models: expected at most {MAX_MODELS:,} names, got {len(names):,}")
    for name in names:
        if len(name.encode()) > MAX_MODEL_NAME_BYTES or not name.isprintable():
            raise invalid("models", f"names of at most {MAX_MODEL_NAME_BYTES} bytes", name)
    return names


def _groups(text: str) -> tuple[str, ...]:
    names = _listed(text)
    if len(names) > MAX_GROUPS or any(len(name) > 64 or not name.isprintable() for name in names):
        raise Invalid(f"group: expected at most {MAX_GROUPS} names of at most 64 characters, with commas between them")
    return names


def _listed(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for part in text.replace("\n", ",").split(",") if (name := part.strip())))


def _mapping(field: str, given: str | None, old: dict[str, str]) -> dict[str, str]:
    if given is None:
        return old
    mapping = _object(field, given)
    if not all(isinstance(value, str) and name and value for name, value in mapping.items()):
        raise Invalid(f'{field}: expected a JSON object of names, such as {{"gpt-4o": "my-deployment"}}')
    return cast("dict[str, str]", mapping)


def _statuses(given: str | None, old: dict[str, str]) -> dict[str, str]:
    if given is None:
        return old
    mapping = {name: str(value) for name, value in _object("status_code_mapping", given).items()}
    for pair in mapping.items():
        if not all(len(code) == 3 and code.isascii() and code.isdigit() and 400 <= int(code) <= 599 for code in pair):
            raise Invalid(
                'status_code_mapping: expected a JSON object of statuses from 400 to 599, such as {"429": "503"}'
            )
    return mapping


def _setting(text: str) -> str:
    """A JSON object. A proxy that could not be used is refused now: calls would find out one by one."""
    proxy = _object("setting", text).get("proxy", "")
    if not isinstance(proxy, str):
        raise Invalid("setting: expected a proxy that is a text")
    if proxy:
        try:
            proxy_url(proxy)
        except NoProxy as error:
            raise Invalid(f"setting: {error}") from None
    return text.strip()


def _object_text(field: str, text: str) -> str:
    """A JSON object, kept as it was written."""
    _object(field, text)
    return text.strip()


def _object(field: str, text: str) -> dict[str, object]:
    """What a JSON object holds; nothing for an empty text. Its contents are not repeated: they may be secret."""
    if not text.strip():
        return {}
    try:
        decoded: object = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise Invalid(f"{field}: expected a text that is a JSON object") from None
    if not isinstance(decoded, dict):
        raise Invalid(f"{field}: expected a text that is a JSON object")
    return cast("dict[str, object]", decoded)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
