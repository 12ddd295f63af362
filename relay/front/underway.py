"""What a client that says something has under way: made when it first does, as many never do."""

from __future__ import annotations

from relay.front.answers import Answers
from relay.front.backlog import Backlog
from relay.front.budget import Budget
from relay.front.login import Login
from relay.front.output import Output
from relay.front.work import Work


class UnderWay:
    """The line of its sends, the rest of a frame, later frames, and the budget for all of them.

    An idle session would have 350 bytes of them.
    """

    __slots__ = ("answers", "backlog", "budget", "work")

    def __init__(self, number: int, login: Login, out: Output) -> None:
        """Begin with nothing, for the session of that number."""
        self.budget = Budget()
        self.answers = Answers(number, self.budget, out)
        self.work = Work(login, self.answers, self.budget, out)
        self.backlog = Backlog(out)

    @property
    def has_pending(self) -> bool:
        """Whether something that was taken has yet to be answered, or something waits to be."""
        return bool(self.answers or self.work or (self.budget.is_full and self.backlog))

    def clear(self) -> None:
        """Forget the frames that wait, and the line: nobody reads its answers."""
        self.backlog.clear()
        self.answers.clear()
