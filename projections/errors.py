"""What may go wrong in read models. None of it touches the ledger: a read model can always be folded again.

ProjectionError
    FoldStopped            a fact that cannot be folded; folding ends there and says where
    ReadModelUnavailable   the read models cannot be read now; try again later
    ReplayRefused          another replay runs, or whoever folds the live one does not give way
    FilterRefused          a search pattern that would cost too much
"""


class ProjectionError(Exception):
    """The root of this folder's errors."""


class FoldStopped(ProjectionError):
    """A fact that cannot be folded. Nothing after `position` is in the read models."""

    def __init__(self, position: int, projection: str, why: str) -> None:
        super().__init__(f"position {position}: {projection or 'the log'} cannot be folded: {why}")
        self.position = position
        self.projection = projection


class ReadModelUnavailable(ProjectionError):
    """The read models cannot be read now."""


class ReplayRefused(ProjectionError):
    """This replay cannot run now."""


class FilterRefused(ProjectionError, ValueError):
    """A search pattern that would cost too much."""
