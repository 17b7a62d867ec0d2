"""Refusals of the domain: the caller asked for something the rules do not allow. Nothing was changed.

DomainError
    InvalidSetting       a setting's text is not what its key expects        (domain/settings.py)
    AbsurdUsage          a provider's counts cannot be true                   (domain/usage.py)
    Unpriced             no price is set for a model                          (domain/pricing.py)
    Broken               stored facts contradict a law: a bug or a damaged store, never a refusal
"""


class DomainError(Exception):
    """The root of this folder's errors."""


class Broken(DomainError):
    """An invariant does not hold on what is stored. Nothing may be written on top of it."""
