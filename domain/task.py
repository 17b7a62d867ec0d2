"""An asynchronous task: charged when the upstream takes it on, ended once, and refunded in the step that says it failed."""

from domain import charges, commands, refunds
from domain.books import Books, Result
from domain.events import Fact, TaskAccepted, TaskFailed, TaskSucceeded


def accept(command: commands.Accept, books: Books) -> Result:
    there = books.history(command.task)
    if there:
        is_that = there[0] == _accepted(command, there[0].at) and charges.is_billed(command, books)
        return Result("exists" if is_that else "exists_with_different", there[0])
    if command.task_ttl_ms <= 0:
        return Result("invalid", why="a task has some time to end in")
    settled = charges.settle(command, books)
    if settled.status == "exists":
        return Result("already_settled", settled.fact, why="the charge was settled, and this task was not begun")
    if settled.status != "created":
        return settled
    fact = _accepted(command, books.now)
    books.record(command.task, fact)
    return Result("created", fact)


def end(command: commands.EndTask, books: Books) -> Result:
    past = books.history(command.task)
    if not past:
        return Result("not_found", why=f"there is no task {command.task}")
    begun = past[0]
    assert isinstance(begun, TaskAccepted), "a task's stream begins with its acceptance"
    if (begun.charge, begun.user, begun.key, begun.capped) != (
        command.charge,
        command.user,
        command.key,
        command.capped,
    ):
        return Result("invalid", begun, why="another charge paid for this task")
    if len(past) > 1:
        is_that = isinstance(past[1], TaskSucceeded) == (command.outcome == "succeeded")
        return Result("exists" if is_that else "exists_with_different", past[1])
    if command.outcome == "given_up" and books.now < begun.deadline:
        return Result("not_yet", begun, why=f"the task runs until {begun.deadline} ms, it is {books.now} ms")
    if command.outcome == "succeeded":
        fact: Fact = TaskSucceeded(at=books.now, user=command.user, charge=command.charge)
    else:
        refund = commands.Refund(
            charge=command.charge,
            user=command.user,
            key=command.key,
            capped=command.capped,
            command_key=f"{refunds.OF_A_TASK}{command.task}",
            reason=command.why,
        )
        refunded = refunds.give_back(refund, books)
        if refunded.status not in ("created", "unchanged"):
            return refunded
        given = refunded.needed if refunded.status == "created" else 0
        why = command.why or command.outcome
        fact = TaskFailed(at=books.now, user=command.user, charge=command.charge, why=why, refunded=given)
    books.record(command.task, fact)
    return Result("created", fact)


def _accepted(command: commands.Accept, at: int) -> TaskAccepted:
    return TaskAccepted(
        at=at,
        charge=command.charge,
        user=command.user,
        key=command.key,
        capped=command.capped,
        kind=command.kind,
        channel=command.channel,
        upstream_task_id=command.upstream_task_id,
        deadline=at + command.task_ttl_ms,
    )
