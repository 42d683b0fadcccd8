"""The adapters, run in the root directory of a tree as their tools would run them; chroot.sh is the tool itself."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.image.building import PACKER
from tests.image.test_trees import Tree
from tests.lab.files import scratch
from tests.lab.process import Result

ADAPTERS = PACKER / "adapters"
ELEMENTS = ADAPTERS / "diskimage-builder" / "elements"
HOOKS = PACKER.parent / "hooks"
CLEAN = "SEALED: nothing of the build machine is in it\n"
# What of virt-customize the adapter uses, on a directory in the place of a disk image.
VIRT_CUSTOMIZE = """\
#!/bin/sh
set -eu
while [ $# -gt 0 ]; do
    case $1 in
    -a) root=$2 ;;
    --copy-in) cp -R "${2%:*}" "$root/${2##*:}/" ;;
    --run-command) mount -t proc proc "$root/proc"; chroot "$root" sh -c "$2" ;;
    --delete) rm -rf "${root:?}/$2" ;;
    *) exit 64 ;;
    esac
    shift 2
done
"""


@pytest.fixture
def tree() -> Iterator[Tree]:
    with scratch("adapter") as place:
        yield Tree("trixie-docker", place)


def chroot(tree: Tree, script: str, *more: str) -> Result[str]:
    """The script in a shell that may change mounts; $1 is the tree, what follows are `more`."""
    return tree.run(
        "unshare",
        "--net",
        "sh",
        "-c",
        f'set -e; root=$1; shift; mount -t proc proc "$root/proc"; {script}',
        "sh",
        tree.root,
        *more,
    )


def run_chroot(tree: Tree) -> Result[str]:
    return tree.run("unshare", "--net", str(ADAPTERS / "chroot.sh"), tree.root)


def run_mkosi(tree: Tree) -> Result[str]:
    """The project is mounted, and SRCDIR names it, and the script runs in the image."""
    script = str(ADAPTERS / "mkosi" / "mkosi.finalize.chroot")
    return chroot(
        tree,
        'mkdir -p "$root/mk/src/cowgate"; mount --bind -o ro "$1" "$root/mk/src/cowgate"; cp "$2" "$root/mk/finalize"\n'
        'SRCDIR=/mk/src chroot "$root" /mk/finalize; umount "$root/mk/src/cowgate"; rm -r "$root/mk"',
        str(PACKER.parent),
        script,
    )


def run_kiwi(tree: Tree) -> Result[str]:
    """The overlay is in the image, and config.sh runs there."""
    return chroot(
        tree,
        'mkdir "$root/opt/cowgate-build"; cp -RL "$1" "$2" "$root/opt/cowgate-build/"; cp "$3" "$root/image-config.sh"\n'
        'chroot "$root" bash /image-config.sh; rm "$root/image-config.sh"; test ! -e "$root/opt/cowgate-build"',
        str(HOOKS),
        str(ADAPTERS / "in-image.sh"),
        str(ADAPTERS / "kiwi" / "config.sh"),
    )


def run_virt_customize(tree: Tree) -> Result[str]:
    tools = Path(tree.place, "tools")
    tools.mkdir()
    (tools / "virt-customize").write_text(VIRT_CUSTOMIZE)
    (tools / "virt-customize").chmod(0o755)
    script = str(ADAPTERS / "virt-customize" / "build.sh")
    return tree.run("unshare", "--net", "env", f"PATH={tools}:{os.environ['PATH']}", script, tree.root)


def on_host(tree: Tree, modules: Path, *argv: str) -> Result[str]:
    """On a host whose Python has just these modules beside the standard ones."""
    script = 'mount --bind "$1" /usr/lib/python3/dist-packages; shift; exec "$@"'
    return tree.run("unshare", "--net", "sh", "-ec", script, "sh", str(modules), *argv)


def lend(tree: Tree) -> Path:
    """The tree's PyYAML, whose Python part runs with any Python: what reads the policy that lies in an image."""
    modules = Path(tree.place, "modules")
    if not modules.exists():
        shutil.copytree(Path(tree.source, "usr/lib/python3/dist-packages/yaml"), modules / "yaml")
    return modules


def element(tree: Tree, modules: Path) -> Result[str]:
    """The last hook of the element."""
    tools = Path(tree.place, "tools")
    tools.mkdir()
    (tools / "sudo").write_text('#!/bin/sh\nexec "$@"\n')
    (tools / "sudo").chmod(0o755)
    settings = (
        f"PATH={tools}:{os.environ['PATH']}",
        f"ELEMENTS_PATH=/nonexistent:{ELEMENTS}",
        f"TARGET_ROOT={tree.root}",
        "DIB_COWGATE_PROVIDER=azure",
        "DIB_COWGATE_ONBOARDING=true",
    )
    return on_host(tree, modules, "env", *settings, str(ELEMENTS / "cowgate" / "cleanup.d" / "95-cowgate"))


def run_element(tree: Tree) -> Result[str]:
    """A whole build is in test_diskimage_builder.py."""
    done = element(tree, lend(tree))
    upper = Path(tree.place, "upper")
    policy = upper / "etc/cowgate/policy.d/10-provider.yaml"
    assert policy.exists() and "provider: azure\n" in policy.read_text(), done.stdout + done.stderr
    assert (upper / "opt/cowgate/onboarding/start").stat().st_mode & 0o777 == 0o755
    return done


ADAPTED = (run_chroot, run_mkosi, run_kiwi, run_virt_customize, run_element)


@pytest.mark.parametrize("adapter", ADAPTED, ids=lambda adapter: adapter.__name__)
def test_it_makes_an_image_and_leaves_nothing(adapter: object, tree: Tree) -> None:
    assert callable(adapter)
    done = adapter(tree)
    assert done.returncode == 0, done.stdout + done.stderr
    assert CLEAN in done.stdout
    upper = Path(tree.place, "upper")
    assert (upper / "etc/systemd/system/cloud-init.target.wants/cowgate.service").is_symlink()
    assert not list(upper.glob("root/cowgate*"))
    judged = on_host(tree, lend(tree), str(HOOKS / "image-seal"), "--root", tree.root, "--check")
    assert judged.returncode == 0 and judged.stdout.endswith(CLEAN), judged.stdout


def test_an_element_without_pyyaml_ends_before_it_changes_the_image(tree: Tree) -> None:
    modules = Path(tree.place, "modules")
    modules.mkdir()
    done = element(tree, modules)
    assert done.returncode == 2
    assert "/usr/bin/python3 of this machine lacks PyYAML" in done.stderr
    assert not list(Path(tree.place, "upper").iterdir())


def test_an_image_that_is_not_fit_ends_it(tree: Tree) -> None:
    secret = Path(tree.place, "upper", "opt/mailcow-dockerized/mailcow.conf")
    secret.parent.mkdir(parents=True)
    secret.write_text("DBPASS=x\n")
    done = run_chroot(tree)
    assert done.returncode == 3
    assert "/opt/mailcow-dockerized/mailcow.conf: passwords of one mailcow" in done.stdout
    assert not list(Path(tree.place, "upper").glob("root/cowgate*")), "nothing of the adapter stays"
    shutil.rmtree(secret.parent)
