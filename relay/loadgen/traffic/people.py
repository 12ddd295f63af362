"""Who takes part: the users and groups of a run, by number, the same for the same seed."""

from typing import Final

import msgspec

from relay.loadgen.traffic.plan import (
    MIXED_GROUP_MEMBERS,
    MIXED_USERS_A_GROUP,
    Group,
    Mixed,
    Plan,
    share_of,
    units_of,
)

_FIRST_GROUP_TIME: Final = 1_500_000_000


class Circle(msgspec.Struct, frozen=True):
    """A group, by bare local part, and its members; the first are those who write."""

    local: str
    members: tuple[str, ...]


def user_name(seed: int, number: int) -> str:
    """Return a user's local part: digits, as phone numbers are."""
    return f"9{seed % 1000:03d}{number:08d}"


def circle(seed: int, number: int, members: tuple[str, ...]) -> Circle:
    """Return group `number` with these members."""
    return Circle(f"{members[0]}-{_FIRST_GROUP_TIME + number}", members)


def circles_of(plan: Plan, share: range) -> list[Circle]:
    """Return the groups that are needed for `share` of the plan's units."""
    match plan.scenario:
        case Group(members=size):
            return [
                circle(plan.seed, n, tuple(user_name(plan.seed, n * size + i) for i in range(size)))
                for n in share
            ]
        case Mixed():
            users = community(plan, share)
            count = max(1, len(users) // MIXED_USERS_A_GROUP)
            step = len(users) // count
            doubled = users + users
            return [
                circle(
                    plan.seed,
                    share.start * MIXED_GROUP_MEMBERS + n,
                    tuple(doubled[n * step : n * step + MIXED_GROUP_MEMBERS]),
                )
                for n in range(count)
            ]
        case _:
            return []


def all_circles(plan: Plan) -> list[Circle]:
    """Return every group of a run, of all its processes."""
    units = units_of(plan.scenario)
    shares = [share_of(units, index, plan.procs) for index in range(plan.procs)]
    return [each for share in shares for each in circles_of(plan, share)]


def community(plan: Plan, share: range) -> list[str]:
    """Return the users of `Mixed` that live in this share; nobody writes to other shares."""
    assert isinstance(plan.scenario, Mixed)
    # The last share takes those that do not fill a unit.
    is_last = share.stop == units_of(plan.scenario)
    last = plan.scenario.users if is_last else share.stop * MIXED_GROUP_MEMBERS
    return [user_name(plan.seed, n) for n in range(share.start * MIXED_GROUP_MEMBERS, last)]


def groups_file(circles: list[Circle]) -> bytes:
    """Return the provisioning file (PROTOCOL 2.5) that a relay needs for these groups."""
    return msgspec.json.encode(
        {
            f"{each.local}@g.us": {
                "subject": "load",
                "participants": [f"{member}@c.us" for member in each.members],
                "admins": [f"{each.members[0]}@c.us"],
            }
            for each in circles
        }
    )
