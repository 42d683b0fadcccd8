"""mailcow.tree: a checkout that the containers can read, root can trust and update.sh can update."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cowgate.model import Commands, Level, Phase, Requirement, Verdict, failed, passed, warned

if TYPE_CHECKING:
    from cowgate.facts.collection import Facts
    from cowgate.facts.mailcow import Mailcow
    from cowgate.policy.model import Policy

EXPECTED = "files below data/ that everybody can read, scripts that only root can change, a branch of origin's"
BRANCH = "master"  # the one that mailcow releases on


def judge(facts: Facts, policy: Policy, phase: Phase) -> Verdict:
    mailcow = facts.mailcow.value
    if not mailcow.checkout:
        return passed("there is no checkout yet")
    return _foreign(mailcow) or _closed(mailcow) or _stuck(mailcow) or passed(_observed(mailcow), expected=EXPECTED)


def _observed(mailcow: Mailcow) -> str:
    tree = mailcow.tree
    return f"readable for the containers, on the branch {tree.branch}" if tree.git else "readable for the containers"


def _foreign(mailcow: Mailcow) -> Verdict | None:
    """Only where root still has to run the checkout's scripts: whoever can write them is root then."""
    tree = mailcow.tree
    if mailcow.conf_state != "absent" or not (tree.owned or tree.writable):
        return None
    said = (
        f"{tree.owned} belongs to user {tree.owner}" if tree.owned else f"{tree.writable} can be changed by others than root"
    )
    return failed(
        f"{said}, and the install runs generate_config.sh from there as root: whoever can change it is root then",
        remedy="look at what is in it, or clone it anew as root; then give it to root",
        commands=(
            ("chown", "-R", "root:root", mailcow.install_dir),
            ("chmod", "-R", "go-w", mailcow.install_dir),
        ),
        expected=EXPECTED,
        observed=said,
    )


def _closed(mailcow: Mailcow) -> Verdict | None:
    tree = mailcow.tree
    if not tree.unreadable_count:
        return None
    more = tree.unreadable_count - len(tree.unreadable)
    named = ", ".join(tree.unreadable) + (f" and {more} more" if more > 0 else "")
    return failed(
        f"the users in mailcow's containers cannot read {tree.unreadable_count} tracked files and directories of "
        f"{mailcow.install_dir}: {named} (the usual cause is a clone under the umask 077)",
        remedy="make what git tracks readable; keys and dumps that mailcow made there itself stay as they are",
        commands=(("sh", "-c", _readable(mailcow.install_dir)),),
        expected=EXPECTED,
        observed=f"{tree.unreadable_count} closed",
    )


def _readable(directory: str) -> str:
    """One line of shell: data, and the files and directories in it that git tracks, and nothing else."""
    listed = f"git -C '{directory}' -c safe.directory='*' ls-tree -rtz --name-only HEAD data"
    return f"{listed} | (cd '{directory}' && xargs -0 chmod a+rX)"


def _stuck(mailcow: Mailcow) -> Verdict | None:
    """Where update.sh stops all containers and then cannot merge."""
    tree, directory = mailcow.tree, mailcow.install_dir
    if not tree.git or (tree.branch and tree.remote_branch and tree.upstream):
        return None
    if not tree.branch:
        said = "is on no branch (a detached HEAD, as after `git checkout TAG`)"
    elif not tree.remote_branch:
        said = f"is on the branch {tree.branch}, which origin does not have"
    else:
        said = f"is on the branch {tree.branch}, which has no upstream"
    remedy = f"put what is checked out onto the branch {BRANCH} of origin; no file changes"
    return warned(
        f"{directory} {said}: mailcow's update.sh would stop all containers, and then fail to merge",
        remedy="set the branch of origin that it follows" if tree.remote_branch else remedy,
        commands=_onto_branch(mailcow),
        expected=EXPECTED,
        observed=tree.branch or "detached HEAD",
    )


def _onto_branch(mailcow: Mailcow) -> Commands:
    tree = mailcow.tree
    git = ("git", "-C", mailcow.install_dir)
    if tree.remote_branch:
        return ((*git, "branch", f"--set-upstream-to=origin/{tree.branch}", tree.branch),)
    fetch: Commands = ()
    if tree.shallow or not tree.master:
        whole = (*git, "fetch", *(("--unshallow",) if tree.shallow else ()), "--tags", "origin")
        fetch = ((*git, "remote", "set-branches", "origin", "*"), whole)
    onto = ((*git, "checkout", "-B", BRANCH), (*git, "branch", f"--set-upstream-to=origin/{BRANCH}", BRANCH))
    return (*fetch, *onto)


ROW = Requirement(
    id="mailcow.tree",
    title="The containers can read the checkout, and update.sh can update it",
    level=Level.REQUIRED,
    phases=(Phase.INSTALL,),
    needs=("mailcow",),
    judge=judge,
)
