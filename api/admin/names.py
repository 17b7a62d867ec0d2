"""What people may call things: names of users and groups, and the profile that they are kept in.

A name that was taken over from elsewhere may be longer; only a new one has to fit.
"""

import msgspec

from api.admin.people import Profile
from api.admin.refusals import Invalid, invalid
from api.admin.services import Services
from domain import user
from domain.commands import Append, VaultPut
from domain.user import User

MAX_USERNAME_CHARS = 20
MAX_DISPLAY_NAME_CHARS = 50
MAX_GROUP_CHARS = 64


def check_username(name: str) -> str:
    """A name to log in with. Raises Invalid."""
    if not 1 <= len(name) <= MAX_USERNAME_CHARS or not name.isprintable() or name != name.strip():
        raise invalid("username", f"1 to {MAX_USERNAME_CHARS} printable characters without blanks around them", name)
    if "@" in name:
        raise Invalid("username: expected no @, which is for e-mail addresses")
    return name


def check_display_name(name: str) -> str:
    """Raises Invalid."""
    if len(name) > MAX_DISPLAY_NAME_CHARS or not name.isprintable():
        raise invalid("display_name", f"at most {MAX_DISPLAY_NAME_CHARS} printable characters", name)
    return name


def check_group(name: str) -> str:
    """One group. Raises Invalid."""
    if not 1 <= len(name) <= MAX_GROUP_CHARS or not name.isprintable() or "," in name or name != name.strip():
        raise invalid("group", f"one name of 1 to {MAX_GROUP_CHARS} printable characters without a comma", name)
    return name


def sealed(site: Services, profile: Profile) -> VaultPut:
    return site.books.vault.put(msgspec.json.encode(profile))


def claim(site: Services, username: str) -> str:
    """The name of a username in the log, which does not say it."""
    return site.books.vault.digest("username", username)


def renamed(site: Services, found: User, before: Profile, after: Profile, *, actor: int) -> Append | None:
    """The change from one profile to another; None when they are the same. Raises Invalid for a name that does not fit."""
    if after == before:
        return None
    if after.username != before.username:
        check_username(after.username)
    if after.display_name != before.display_name:
        check_display_name(after.display_name)
    return user.profile_change(found, claim=claim(site, after.username), profile=sealed(site, after), actor=actor)
