"""Options, for root: what operators change while the gateway runs. Values are texts; one that its key cannot hold is refused.

Secrets go into the vault and are never listed. Keys that we do not know are kept as they are.
"""

from pydantic import BaseModel, Field, JsonValue

from api.admin.amounts import Body
from api.admin.callers import AsRoot
from api.admin.changes import carry_out
from api.admin.envelope import Envelope
from api.admin.refusals import Malformed
from api.admin.routing import Routes
from api.admin.services import Services, Site, followed
from domain import settings, streams
from domain.commands import Append, Part
from domain.events import SettingChanged
from domain.settings import REGISTRY, Settings

routes = Routes("options")


class Option(BaseModel):
    """One option; both are texts, whatever the value means."""

    key: str
    value: str


class OptionChange(Body):
    """An option to be written. `value` must be a text: numbers and switches in quotes, JSON as text."""

    key: str = Field(max_length=settings.MAX_KEY_LENGTH)
    value: JsonValue


@routes.get("/api/option/", summary="All options that are not secret, defaults included")
def list_options(site: Site, _: AsRoot) -> Envelope[list[Option]]:
    followed(site)
    effective = Settings(site.directory.options()).all_effective()
    shown = [Option(key=key, value=effective[key]) for key in sorted(effective) if not settings.is_secret(key)]
    return Envelope(data=shown)


@routes.put("/api/option/", summary="Write one option")
def update_option(site: Site, who: AsRoot, change: OptionChange) -> Envelope[None]:
    if not isinstance(change.value, str):
        raise Malformed(f"value: expected a text for {change.key}, numbers and switches too: put it in quotes")
    write_option(site, who.id, change.key, change.value)
    return Envelope(data=None)


@routes.post("/api/option/rest_model_ratio", summary="Set ModelRatio to the built-in table")
def reset_model_ratio(site: Site, who: AsRoot) -> Envelope[None]:
    write_option(site, who.id, "ModelRatio", REGISTRY["ModelRatio"].default)
    return Envelope(data=None)


def write_option(site: Services, actor: int, key: str, text: str) -> None:
    """Store an option; nothing is recorded where it is stored so already. Raises InvalidSetting."""
    canonical = settings.validate(key, text)
    carry_out(site, lambda: _changed(site, actor, key, canonical))


def _changed(site: Services, actor: int, key: str, value: str) -> Append | None:
    stream = streams.setting(key)
    past = site.books.store.read_stream(stream)
    last = past[-1].fact if past else None
    before = last if isinstance(last, SettingChanged) else None
    if before is not None and (site.books.vault.text(before.secret) if before.secret else before.value) == value:
        return None
    put = site.books.vault.put(value) if settings.is_secret(key) and value else None
    fact = SettingChanged(key=key, value="" if put else value, secret=put.ref if put else "", actor=actor)
    return Append(
        parts=(Part(stream, len(past), (fact,)),),
        vault=(put,) if put else (),
        vault_delete=(before.secret,) if before is not None and before.secret else (),
    )
