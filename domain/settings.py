"""What operators change while the gateway runs: the family's option keys, each a text that its kind can read.

A text reaches an event only through `validate`, and what was validated can always be read back by the getter of its kind.
Keys, kinds and defaults: Veloera 8117f302 (2025-06). An option that was never saved holds its default.
"""

import builtins
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from fractions import Fraction
from types import MappingProxyType
from typing import Final, NamedTuple

from domain import price_tables
from domain import setting_kinds as kinds
from domain.setting_kinds import Check, InvalidSetting, is_secret, parse_ratios

__all__ = [
    "DEFAULT_RATIOS",
    "MAX_KEY_LENGTH",
    "MAX_SETTING_BYTES",
    "REGISTRY",
    "InvalidSetting",
    "Setting",
    "Settings",
    "is_secret",
    "parse_ratios",
    "validate",
]

MAX_SETTING_BYTES: Final = 1 << 20
MAX_KEY_LENGTH: Final = 128


class Setting(NamedTuple):
    """One known option. `kind` is bool, int, decimal, text, ratios or json: the getter that reads it."""

    key: str
    kind: str
    default: str
    check: Check


class Settings:
    """A frozen view of stored options over their defaults.

    A getter raises InvalidSetting for a text that is not of its kind (a migrated store may hold one), and KeyError for a
    key that is neither stored nor known.
    """

    __slots__ = ("_read", "_stored")

    def __init__(self, stored: Mapping[str, str]) -> None:
        self._stored = MappingProxyType(dict(stored))
        self._read: dict[str, builtins.int] = {}
        """Numbers that every call asks for, read once."""

    def text(self, key: str) -> str:
        """The stored text, else the default."""
        stored = self._stored.get(key)
        return REGISTRY[key].default if stored is None else stored

    def bool(self, key: str) -> builtins.bool:
        """A switch."""
        return kinds.flag(key, self.text(key)) == "true"

    def int(self, key: str) -> builtins.int:
        """A whole number, in the unit of its key."""
        number = self._read.get(key)
        if number is None:
            number = self._read[key] = kinds.parse_whole(key, self.text(key))
        return number

    def decimal(self, key: str) -> Decimal:
        """A number, exactly as written."""
        return kinds.parse_decimal(key, self.text(key))

    def ratios(self, key: str) -> dict[str, Fraction]:
        """Multipliers by name. The default table comes exact: its thirds and seventy-thirds too, which JSON cannot say."""
        text = self.text(key)
        if text == REGISTRY[key].default:
            return {name: Fraction(exact) for name, exact in DEFAULT_RATIOS[key].items()}
        return parse_ratios(key, text)

    def json(self, key: str) -> object:
        """Decoded JSON; numbers with a point are Decimal."""
        return kinds.parse_json(key, self.text(key))

    def all_effective(self) -> Mapping[str, str]:
        """Every known key and every stored one, defaults included. It holds secrets: see `is_secret`."""
        return {key: setting.default for key, setting in REGISTRY.items()} | self._stored


def validate(key: str, text: str) -> str:
    """The canonical text to store. Keys that we do not know are kept as they are, within the bounds.

    Raises:
        InvalidSetting: says the key, what was expected and what was given.
    """
    _check_bounds(key, text)
    setting = REGISTRY.get(key)
    return setting.check(key, text) if setting else text


def _check_bounds(key: str, text: str) -> None:
    if not 1 <= len(key) <= MAX_KEY_LENGTH or not key.isprintable():
        raise InvalidSetting(
            ascii(key[:MAX_KEY_LENGTH]), f"a key of 1 to {MAX_KEY_LENGTH} printable characters", "none"
        )
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise InvalidSetting(key, "text that UTF-8 can write", "half a surrogate pair") from None
    if size > MAX_SETTING_BYTES:
        raise InvalidSetting(key, f"at most {MAX_SETTING_BYTES:,} bytes", f"{size:,} bytes")
    if "\0" in text:
        raise InvalidSetting(key, "text without NUL, which PostgreSQL cannot store", "a NUL")


DEFAULT_RATIOS: Final[Mapping[str, Mapping[str, str]]] = {
    "ModelRatio": price_tables.MODEL_RATIO,
    "CompletionRatio": price_tables.COMPLETION_RATIO,
    "CacheRatio": price_tables.CACHE_RATIO,
    "ModelPrice": price_tables.MODEL_PRICE,
    "GroupRatio": price_tables.GROUP_RATIO,
    "TopupGroupRatio": price_tables.GROUP_RATIO,
    # Ours: the family keeps these multipliers in its program, out of an operator's reach.
    "CacheWriteRatio": {},
    "AudioRatio": {},
    "AudioCompletionRatio": {},
}

_ON: Final = """
    DisplayInCurrencyEnabled DisplayTokenStatEnabled DrawingEnabled MjForwardUrlEnabled MjActionCheckSuccessEnabled
    CheckSensitiveEnabled CheckSensitiveOnPromptEnabled StopOnSensitiveEnabled LogConsumeEnabled DataExportEnabled
    PasswordLoginEnabled PasswordRegisterEnabled RegisterEnabled TaskEnabled claude.thinking_adapter_enabled"""

_OFF: Final = """
    DefaultCollapseSidebar DemoSiteEnabled SelfUseModeEnabled MjNotifyEnabled MjAccountFilterEnabled MjModeClearEnabled
    LogChatContentEnabled AutomaticDisableChannelEnabled AutomaticEnableChannelEnabled CheckInEnabled RebateEnabled
    ModelRequestRateLimitEnabled EmailVerificationEnabled TurnstileCheckEnabled GitHubOAuthEnabled LinuxDOOAuthEnabled
    WeChatAuthEnabled TelegramOAuthEnabled oidc.enabled EmailDomainRestrictionEnabled EmailAliasRestrictionEnabled
    SMTPSSLEnabled global.pass_through_request_enabled global.hide_upstream_error_enabled
    global.block_browser_extension_enabled general_setting.ping_interval_enabled gemini.thinking_adapter_enabled"""

_EMPTY: Final = """
    TopUpLink general_setting.docs_link ServerAddress WorkerUrl WorkerValidKey PayAddress EpayId EpayKey
    CustomCallbackAddress SMTPServer SMTPAccount SMTPFrom SMTPToken oidc.client_id oidc.client_secret oidc.well_known
    oidc.authorization_endpoint oidc.token_endpoint oidc.user_info_endpoint GitHubClientId GitHubClientSecret
    LinuxDOClientId LinuxDOClientSecret WeChatServerAddress WeChatServerToken WeChatAccountQRCodeImageURL
    TelegramBotToken TelegramBotName TurnstileSiteKey TurnstileSecretKey Notice Logo HomePageContent About Footer"""

# One account holds at most 9 x 10^15 mills; no setting gives away more.
_MAX_QUOTA: Final = 9_000_000_000_000
_MANY: Final = 1_000_000_000

# What vendors say when a channel's account is finished: Anthropic, OpenAI, Google and AWS.
_ACCOUNT_IS_FINISHED: Final = """
your credit balance is too low
this organization has been disabled.
you exceeded your current quota
permission denied
the security token included in the request is invalid
operation not allowed
your account is not authorized
""".strip()

# Each client's own import link, with {address} and {key} filled in by the console.
_CHATS: Final = (
    '[{"NextChat":"https://app.nextchat.dev/#/?settings={\\"key\\":\\"{key}\\",\\"url\\":\\"{address}\\"}"},'
    '{"LobeChat":"https://chat-preview.lobehub.com/?settings={\\"keyVaults\\":{\\"openai\\":'
    '{\\"apiKey\\":\\"{key}\\",\\"baseURL\\":\\"{address}/v1\\"}}}"},'
    '{"OpenCat":"opencat://team/join?domain={address}&token={key}"}]'
)

_SAFETY: Final = (
    '{"HARM_CATEGORY_DANGEROUS_CONTENT":"BLOCK_NONE","HARM_CATEGORY_HARASSMENT":"BLOCK_NONE",'
    '"HARM_CATEGORY_HATE_SPEECH":"BLOCK_NONE","HARM_CATEGORY_SEXUALLY_EXPLICIT":"BLOCK_NONE","default":"OFF"}'
)

_texts = kinds.shaped('a JSON array of texts such as ["a", "b"]', kinds.is_texts)
_text_map = kinds.shaped('a JSON object of texts such as {"default": "..."}', kinds.is_text_map)
_count_map = kinds.shaped('a JSON object of whole numbers such as {"default": 8192}', kinds.is_count_map)
_pairs = kinds.shaped('a JSON array of one-pair objects such as [{"name": "https://..."}]', kinds.is_pairs)
_headers = kinds.shaped('JSON such as {"claude-x": {"x-header": ["value"]}}', kinds.is_header_map)


def _each(keys: Iterable[str], kind: str, default: str, check: Check) -> Iterator[Setting]:
    return (Setting(key, kind, default, check) for key in keys)


def _known() -> Iterator[Setting]:
    yield from _each(_ON.split(), "bool", "true", kinds.flag)
    yield from _each(_OFF.split(), "bool", "false", kinds.flag)
    yield from _each(_EMPTY.split(), "text", "", kinds.any_text)
    for key, table in DEFAULT_RATIOS.items():
        yield Setting(key, "ratios", kinds.ratio_json(table), kinds.ratios)
    yield from _COUNTS
    yield from _NUMBERS
    yield from _TEXTS


_COUNTS: Final = (
    Setting("RetryTimes", "int", "0", kinds.whole(0, 100)),
    Setting("DataExportInterval", "int", "5", kinds.whole(1, _MANY)),
    Setting("QuotaRemindThreshold", "int", "1000", kinds.whole(0, _MAX_QUOTA)),
    Setting("CheckInQuota", "int", "1000", kinds.whole(1, _MAX_QUOTA)),
    Setting("CheckInMaxQuota", "int", "0", kinds.whole(0, _MAX_QUOTA)),
    Setting("QuotaForNewUser", "int", "0", kinds.whole(0, _MAX_QUOTA)),
    Setting("QuotaForInviter", "int", "0", kinds.whole(0, _MAX_QUOTA)),
    Setting("QuotaForInvitee", "int", "0", kinds.whole(0, _MAX_QUOTA)),
    Setting("PreConsumedQuota", "int", "500", kinds.whole(0, _MANY)),
    Setting("ModelRequestRateLimitCount", "int", "0", kinds.whole(0, _MANY)),
    Setting("ModelRequestRateLimitSuccessCount", "int", "1000", kinds.whole(0, _MANY)),
    Setting("ModelRequestRateLimitDurationMinutes", "int", "1", kinds.whole(1, _MANY)),
    Setting("general_setting.ping_interval_seconds", "int", "60", kinds.whole(1, _MANY)),
    Setting("MinTopUp", "int", "1", kinds.whole(1, _MANY)),
    Setting("SMTPPort", "int", "587", kinds.whole(1, 65_535)),
    Setting("FileUploadPermission", "int", "0", kinds.whole(0, _MANY)),
    Setting("FileDownloadPermission", "int", "0", kinds.whole(0, _MANY)),
    Setting("ImageUploadPermission", "int", "0", kinds.whole(0, _MANY)),
    Setting("ImageDownloadPermission", "int", "0", kinds.whole(0, _MANY)),
    Setting("StreamCacheQueueLength", "int", "0", kinds.whole(0, _MANY)),
)

_NUMBERS: Final = (
    Setting("QuotaPerUnit", "decimal", "500000", kinds.number("0.001", "1000000000")),
    Setting("Price", "decimal", "7.3", kinds.number("0", "1000000000")),
    Setting("ChannelDisableThreshold", "decimal", "5", kinds.number("0", "1000000")),
    Setting("RebatePercentage", "decimal", "0", kinds.number("0", "100")),
    Setting("claude.thinking_adapter_budget_tokens_percentage", "decimal", "0.8", kinds.number("0", "1")),
    Setting("gemini.thinking_adapter_budget_tokens_percentage", "decimal", "0.6", kinds.number("0", "1")),
)

_TEXTS: Final = (
    Setting("SystemName", "text", "Veloera", kinds.any_text),
    Setting("SensitiveWords", "text", "test_sensitive", kinds.any_text),
    Setting("AutomaticDisableKeywords", "text", _ACCOUNT_IS_FINISHED, kinds.lower_lines),
    Setting("DataExportDefaultTime", "text", "hour", kinds.choice("hour", "day", "week")),
    Setting(
        "EmailDomainWhitelist",
        "text",
        "gmail.com,163.com,126.com,qq.com,outlook.com,hotmail.com,icloud.com,yahoo.com,foxmail.com",
        kinds.any_text,
    ),
    Setting("Chats", "json", _CHATS, _pairs),
    Setting("UserUsableGroups", "json", '{"default":"Default group","vip":"VIP group"}', _text_map),
    Setting("gemini.safety_settings", "json", _SAFETY, _text_map),
    Setting("gemini.version_settings", "json", '{"default":"v1beta","gemini-1.0-pro":"v1beta"}', _text_map),
    Setting(
        "gemini.supported_imagine_models",
        "json",
        '["gemini-2.0-flash-exp-image-generation","gemini-2.0-flash-exp"]',
        _texts,
    ),
    Setting(
        "gemini.models_supported_thinking_budget",
        "json",
        '["gemini-2.5-flash-preview-05-20","gemini-2.5-flash-preview-04-17","gemini-2.5-pro-preview-06-05"]',
        _texts,
    ),
    Setting("claude.model_headers_settings", "json", "{}", _headers),
    Setting("claude.default_max_tokens", "json", '{"default":8192}', _count_map),
)

REGISTRY: Final[Mapping[str, Setting]] = MappingProxyType({setting.key: setting for setting in _known()})
"""Every key that has a kind and a default."""
