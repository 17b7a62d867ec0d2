"""Providers that speak OpenAI's wire language: where they are and how a request is signed. One row each.

Base URLs are the family's defaults (veloera-admin-surface, channel types); a channel's own base URL replaces them.
"""

from collections.abc import Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import NamedTuple


class Compatible(NamedTuple):
    """An OpenAI-compatible provider. `version_path` stands between the base URL and `/chat/completions`."""

    name: str
    base_url: str
    version_path: str = "/v1"


PROVIDERS: dict[int, Compatible] = {
    1: Compatible("openai", "https://api.openai.com"),
    6: Compatible("openaimax", "https://api.openaimax.com"),
    7: Compatible("ohmygpt", "https://api.ohmygpt.com"),
    8: Compatible("custom", ""),
    10: Compatible("aiproxy", "https://api.aiproxy.io"),
    12: Compatible("api2gpt", "https://api.api2gpt.com"),
    13: Compatible("aigc2d", "https://api.aigc2d.com"),
    20: Compatible("openrouter", "https://openrouter.ai/api"),
    25: Compatible("moonshot", "https://api.moonshot.cn"),
    31: Compatible("lingyiwanwu", "https://api.lingyiwanwu.com"),
    40: Compatible("siliconflow", "https://api.siliconflow.cn"),
    43: Compatible("deepseek", "https://api.deepseek.com"),
    48: Compatible("xai", "https://api.x.ai"),
}


@lru_cache(maxsize=4096)
def address(provider: Compatible, base_url: str, path: str) -> str:
    """The URL of an endpoint. A base URL that already ends in its version keeps it once."""
    base = (base_url or provider.base_url).rstrip("/")
    if base.endswith("/v1") and provider.version_path == "/v1":
        return base + path
    return base + provider.version_path + path


@lru_cache(maxsize=4096)
def signed(credential: str, organization: str) -> Mapping[str, str]:
    """The headers of a request, the same object for the same credential: who writes them out need not do so twice."""
    headers = {
        "Authorization": f"Bearer {credential}",
        "Accept": "application/json, text/event-stream",
        "Accept-Encoding": "identity",
    }
    if organization:
        headers["OpenAI-Organization"] = organization
    return MappingProxyType(headers)
