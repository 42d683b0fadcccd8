"""What `cowgate user-data` writes: the same each time, whole, small enough or refused, and the same program inside."""

from __future__ import annotations

import ast
import base64
import email
import gzip
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from cowgate import cli, removal
from cowgate.boot import user_data as userdata
from cowgate.boot.user_data import FIELDS, Options
from cowgate.formats.proxy_settings import parse_dropin
from cowgate.providers import UserDataField

ROOT = Path(__file__).resolve().parents[2]
NAME = "mail.cowgate.test"
CARRIED = ROOT / "hooks" / "cowgate" / "boot" / "carried"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKo7 somebody"


def ask(*words: str) -> int:
    return cli.main(["user-data", *words])


def parsed(text: str) -> dict[str, Any]:
    """As cloud-init reads it."""
    assert text.startswith("#cloud-config\n")
    document: dict[str, Any] = yaml.safe_load(text)
    assert document["runcmd"][0] == document["bootcmd"][0], "the same, where bootcmd is replaced"
    return document


def written(document: dict[str, Any]) -> dict[str, bytes]:
    """What its command would write, by path: the here-documents, decoded."""
    put = re.compile(
        r"^(?:put (\S+) \d+ <<'END-OF-FILE'|base64 -d <<'END-OF-FILE' \| (gzip -d \| )?put (\S+) \d+)\n(.*?)^END-OF-FILE\n",
        re.M | re.S,
    )
    found = {}
    for plain, packed, coded, body in put.findall(document["bootcmd"][0]):
        raw = body.encode() if plain else base64.b64decode(body)
        found[plain or coded] = gzip.decompress(raw) if packed else raw
    return found


def content(document: dict[str, Any], path: str) -> bytes:
    return written(document)[path]


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle, as it lies on the machine."""
    place = tmp_path_factory.mktemp("opt")
    with tarfile.open(fileobj=io.BytesIO(userdata.bundle()), mode="r:xz") as archive:
        for member in archive:
            assert (member.uid, member.gid, member.mtime, member.isfile()) == (0, 0, 0, True)
        # as the unpacker does: Python 3.12 and 3.13 warn where no filter is named, older ones know none
        archive.extractall(place, **({"filter": "data"} if hasattr(tarfile, "data_filter") else {}))
    return place


# -- the text --------------------------------------------------------------------------------------------------------


def test_the_same_options_give_the_same_bytes(tmp_path: Path) -> None:
    digests = set()
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-m", "cowgate", "user-data", "--bundle", str(tmp_path / seed)],
            cwd=ROOT / "hooks",
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            timeout=120,
        )
        digests.add(done.stdout)
        assert done.stdout == hashlib.sha256((tmp_path / seed).read_bytes()).hexdigest() + "\n", done.stderr
    assert len(digests) == 1


def test_what_it_writes_and_starts() -> None:
    document = parsed(userdata.build(Options(hostname=NAME, timezone="Europe/Vienna", install=True, ssh_keys=(KEY,))))
    assert list(document) == ["merge_how", "ssh_authorized_keys", "bootcmd", "runcmd"]
    assert document["ssh_authorized_keys"] == [KEY]
    files = written(document)
    assert yaml.safe_load(files[userdata.SETTINGS]) == {"hostname": NAME, "timezone": "Europe/Vienna"}
    assert files["/opt/cowgate/bundle"] == userdata.bundle()
    assert b"\ninstall=yes\n" in files["/opt/cowgate/begin"]
    assert document["bootcmd"][0].endswith("\nsh /opt/cowgate/begin --start\nfi\n)\n")
    assert len(document["runcmd"]) == 1


def test_what_is_written_is_a_script_for_sh(tmp_path: Path) -> None:
    document = parsed(userdata.build(Options(hostname=NAME, url="https://x/y", sha256="0" * 64, proxy="http://p:1/%41")))
    scripts = {"bootcmd": document["bootcmd"][0].encode(), "begin": content(document, "/opt/cowgate/begin")}
    for name, script in scripts.items():
        (tmp_path / name).write_bytes(script)
        assert subprocess.run(["sh", "-n", str(tmp_path / name)], capture_output=True, timeout=30).returncode == 0


def test_what_was_removed_is_not_brought_back(tmp_path: Path) -> None:
    """bootcmd runs at every boot; the mark of the first one outlives /opt/cowgate."""
    script = parsed(userdata.build(Options(hostname=NAME, url="https://x/y", sha256="0" * 64)))["bootcmd"][0]
    (mark,) = set(re.findall(r'cowgate-begun 2>/dev/null\)" != (\S+) ]', script))
    here = script.replace("/opt/cowgate", f"{tmp_path}/cowgate").replace(userdata.BEGUN, f"{tmp_path}/begun")
    (tmp_path / "begun").write_text(f"{mark}\n")
    done = subprocess.run(["sh"], input=here, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["begun"]


def test_without_install_nothing_is_enabled() -> None:
    assert b"\ninstall=''\n" in content(parsed(userdata.build(Options(hostname=NAME))), "/opt/cowgate/begin")


def test_cloud_init_fails_with_it_only_when_asked() -> None:
    document = parsed(userdata.build(Options(hostname=NAME, fail_cloud_init=True)))
    assert document["runcmd"][-1] == ["sh", "/opt/cowgate/begin", "--once"]
    assert yaml.safe_load(content(document, userdata.SETTINGS))["fail_cloud_init"] is True


def test_a_part_for_a_multipart_is_a_boothook_and_a_second_way_to_it() -> None:
    """No key of another part replaces a boothook. Read as cloud-init reads it, it is the very script of bootcmd."""
    options = Options(hostname=NAME, url="https://x/y", sha256="0" * 64)
    text = userdata.archive(userdata.build_parts(options))
    assert text.startswith("#cloud-config-archive\n") and len(text) < len(userdata.build(options)) + 500
    hook, beside = yaml.safe_load(text)
    assert (hook["type"], hook["filename"]) == ("text/cloud-boothook", "cowgate")
    first, shebang, about, script = hook["content"].split("\n", 3)
    assert (first, shebang, about[:10]) == ("#cloud-boothook", "#!/bin/sh", "# cowgate ")
    assert script == yaml.safe_load(userdata.build(options))["bootcmd"][0]
    assert beside["type"] == "text/cloud-config" and beside["content"].startswith("#cloud-config\n")
    second = yaml.safe_load(beside["content"])
    again = [["sh", "/var/lib/cloud/instance/boothooks/cowgate"]]
    assert second == {"merge_how": second["merge_how"], "bootcmd": again, "runcmd": again}


def test_cloud_init_fails_with_a_part_too() -> None:
    (hook, _) = userdata.build_parts(Options(hostname=NAME, url="https://x/y", sha256="0" * 64, fail_cloud_init=True))
    assert f"put {removal.ONCE} 755 <<'END-OF-FILE'\n#!/bin/sh\nexec sh /opt/cowgate/begin --once\n" in hook.text


@pytest.mark.parametrize(
    ("theirs", "kind"),
    [
        ("#cloud-config\nruncmd: [ls]\n", "text/cloud-config"),
        ("\ufeff#!/bin/sh\necho ü\n", "text/x-shellscript"),
        ("\n#Cloud-config\nruncmd: [ls]\n", "text/cloud-config"),
        ('#cloud-config-jsonp\n[{"op": "add", "path": "/x", "value": 1}]\n', "text/cloud-config-jsonp"),
        ("#cloud-config-archive\n- '#!/bin/sh'\n", "text/cloud-config-archive"),
        ("## template: jinja\n#cloud-config\n", "text/jinja2"),
    ],
)
def test_with_a_file_of_the_owners_one_document_holds_both(theirs: str, kind: str) -> None:
    ours = userdata.build_parts(Options(hostname=NAME, url="https://x/y", sha256="0" * 64, ssh_keys=(KEY,)))
    document = email.message_from_string(userdata.combine(ours, theirs))
    parts = [(part.get_content_type(), part.get_filename()) for part in document.get_payload()]
    assert parts == [(kind, None), ("text/cloud-boothook", "cowgate"), ("text/cloud-config", None)]
    held = [part.get_payload(decode=True).decode().rstrip("\n") for part in document.get_payload()]
    assert held == [text.rstrip("\n") for text in (theirs.lstrip("\ufeff"), *(part.text for part in ours))]
    assert yaml.safe_load(held[2])["ssh_authorized_keys"] == [KEY]


def test_a_multipart_of_the_owners_keeps_its_parts() -> None:
    theirs = userdata.combine((userdata.Part("x-shellscript", "#!/bin/sh\nls\n"),), "#cloud-config\nruncmd: [ls]\n")
    ours = userdata.build_parts(Options(hostname=NAME, url="https://x/y", sha256="0" * 64))
    for text in (theirs, "MIME-Version: 1.0\n" + theirs.replace("MIME-Version: 1.0\n", "", 1)):
        document = email.message_from_string(userdata.combine(ours, text))
        kinds = [part.get_content_type() for part in document.walk() if not part.is_multipart()]
        expected = ["text/cloud-config", "text/x-shellscript", "text/cloud-boothook", "text/cloud-config"]
        assert kinds == expected and not document.defects


def test_what_cloud_init_does_not_know_is_refused() -> None:
    with pytest.raises(userdata.UsageError, match="'runcmd: "):
        userdata.combine((), "runcmd: [ls]\n")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--part", "--with", "x"], "--with FILE makes the whole document"),
        (["--part", "--ssh-key", KEY], "--part takes no --ssh-key"),
    ],
)
def test_a_part_goes_with_neither(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("--hostname", NAME, *words) == 2
    assert said in capsys.readouterr().err


def test_another_user_data_begins_anew() -> None:
    """A clone of a machine that came by user-data, with user-data of its own."""
    options = [Options(hostname=NAME), Options(hostname="mx.cowgate.test"), Options(hostname=NAME, policy="hostname: x\n")]
    marks = [re.findall(rb"carried=(\S+)", content(parsed(userdata.build(each)), "/opt/cowgate/begin")) for each in options]
    assert len({mark[0] for mark in marks}) == 3


@pytest.mark.parametrize(
    "text",
    [
        "hostname: a\n",
        "  indented: first\n",
        "no end of line",
        "trailing blanks: 1  \n",
        "tab:\t1\n",
        "two ends\n\n",
        "\nfirst line is empty\n",
        "a: 1\n\n  # deeper\nb: 2\n",
        "umlaut: ü\n",
        "cr: 1\r\nlf: 2\n",
        "# {{ jinja }} %\n",
        "nul: \0\n",
        "a: b \n",
        "\u2028\n",
    ],
)
def test_a_policy_arrives_byte_for_byte(text: str) -> None:
    document = parsed(userdata.build(Options(hostname=NAME, policy=text, url="https://x", sha256="0" * 64)))
    assert content(document, "/etc/cowgate/policy.yaml") == text.encode()


def test_the_fetcher_is_python_that_el8_has() -> None:
    ast.parse(content(parsed(userdata.build(Options())), "/opt/cowgate/get"), feature_version=(3, 6))


@pytest.mark.parametrize("url", ["https://x/y?a=b&c", "https://x/'\"\\$(id)`id`"])
def test_an_address_reaches_the_script_as_it_is(url: str) -> None:
    script = content(parsed(userdata.build(Options(url=url, sha256="ab" * 32))), "/opt/cowgate/begin").decode()
    lines = [line for line in script.splitlines() if line.startswith(("url=", "sha256="))]
    told = subprocess.run(["sh", "-c", "\n".join([*lines, 'printf %s "$url"'])], capture_output=True, text=True, timeout=30)
    assert told.stdout == url


def test_a_proxy_reaches_everything_that_fetches() -> None:
    proxy = "http://user:p%40ss@proxy.cowgate.test:3128"
    document = parsed(userdata.build(Options(hostname=NAME, proxy=proxy, fail_cloud_init=True)))
    script = document["bootcmd"][0]
    for line in (f"http_proxy={proxy}", f"https_proxy={proxy}", "no_proxy=localhost,127.0.0.1,::1"):
        assert f"grep -qxF {line} /etc/environment 2>/dev/null || echo {line} >>/etc/environment\n" in script
    unit = content(document, "/etc/systemd/system/docker.service.d/proxy.conf").decode()
    assert parse_dropin(unit) == {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy, "NO_PROXY": "localhost,127.0.0.1,::1"}
    assert "p%%40ss" in unit
    begin = content(document, "/opt/cowgate/begin").decode()
    assert f"\nhttp_proxy={proxy}\nhttps_proxy={proxy}\n" in begin and "\nexport http_proxy https_proxy no_proxy\n" in begin
    for name in ("cowgate.service", "cowgate-install.service"):
        assert "EnvironmentFile=-/etc/environment\n" in (ROOT / "cloud-config/systemd" / name).read_text()


# -- sizes -----------------------------------------------------------------------------------------------------------


def test_who_takes_all_of_it() -> None:
    text = userdata.build(Options(hostname=NAME, install=True, ssh_keys=(KEY,), timezone="Europe/Vienna"))
    takes = {name for name, provider in FIELDS.items() if userdata.size_for(provider, text) <= provider.limit}
    assert takes == {"nocloud"}


@pytest.mark.parametrize("provider", FIELDS.values(), ids=lambda provider: provider.name)
def test_the_small_variant_fits_everywhere(provider: UserDataField) -> None:
    text = userdata.build(
        Options(hostname=NAME, url="https://example.com/" + "x" * 200, sha256="0" * 64, policy="a: 1\n" * 800)
    )
    userdata.demand_fit(provider, text)


@pytest.mark.parametrize("provider", FIELDS.values(), ids=lambda provider: provider.name)
def test_the_limit_is_exact(provider: UserDataField) -> None:
    most = provider.limit if provider.encoding == "text" else provider.limit // 4 * 3
    userdata.demand_fit(provider, "x" * most)
    with pytest.raises(userdata.UsageError) as refused:
        userdata.demand_fit(provider, "x" * (most + 1))
    over = userdata.size_for(provider, "x" * (most + 1)) - provider.limit
    assert f" {over} more than {provider.name} takes" in refused.value.message


# -- the bundle ------------------------------------------------------------------------------------------------------


def test_the_whole_program_is_carried(unpacked: Path) -> None:
    package = ROOT / "hooks" / "cowgate"
    wanted = {
        str(path.relative_to(package))
        for pattern in ("**/*.py", "schemas/*.json", "**/*.md", "units/*", "services/*", "boot/carried/*", "**/*.sh")
        for path in package.glob(pattern)
        if not path.name.endswith(".de.md")  # explain --lang de falls back to the English page
    }
    carried = unpacked / "hooks" / "cowgate"
    assert {str(path.relative_to(carried)) for path in carried.rglob("*") if path.is_file()} == wanted
    for name in wanted:
        if name.endswith(".json"):
            assert json.loads((carried / name).read_bytes()) == json.loads((package / name).read_bytes())
        elif not name.endswith(".py"):
            assert (carried / name).read_bytes() == (package / name).read_bytes()
    launcher = unpacked / "hooks" / "cowgate.sh"
    assert launcher.read_bytes() == (package / "launcher.sh").read_bytes() and os.access(launcher, os.X_OK)


def outline(source: str) -> str:
    """The program without what strip() may take away."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.arg):
            node.annotation = None
        if isinstance(node, ast.FunctionDef):
            node.returns = None
        body = getattr(node, "body", None)
        if not isinstance(body, list):
            continue
        body[:] = [
            item
            for item in body
            if not (isinstance(item, ast.If) and ast.unparse(item.test) == "TYPE_CHECKING" and not item.orelse)
        ]
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node, clean=False) is not None:
            del body[0]
    return ast.dump(tree)


def test_stripped_modules_are_the_same_program(unpacked: Path) -> None:
    for path in sorted((unpacked / "hooks" / "cowgate").rglob("*.py")):
        source = (ROOT / "hooks" / "cowgate" / path.relative_to(unpacked / "hooks" / "cowgate")).read_text()
        stripped = path.read_text()
        assert outline(stripped) == outline(source), path
        assert len(stripped) <= len(source)
        compile(stripped, path, "exec")


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"""doc"""\nx = 1  # why\n', "x = 1\n"),
        ('def f():\n    """only this"""\n', 'def f():\n    """only this"""\n'),
        ('def f():\n    """doc\n\n    more\n    """\n\n    return 1\n', "def f():\n    return 1\n"),
        ('x = """a\n\n# no comment\n  b"""\n\n\ny = 2\n', 'x = """a\n\n# no comment\n  b"""\ny = 2\n'),
        ('x = f"""{1}\n\n# text"""\n', 'x = f"""{1}\n\n# text"""\n'),
        ("x = '#'  # not '#'\n", "x = '#'\n"),
        ("if TYPE_CHECKING:\n    import a\nx = 1\n", "x = 1\n"),
        (
            "def f(a: int, *b: X, c: 'ä' = 1, **d: Y[Z]) -> list[\n    int\n]:\n    x: int = 1\n",
            "def f(a, *b, c = 1, **d):\n    x: int = 1\n",
        ),
        ("if TYPE_CHECKING:\n    import a\nelse:\n    b = 1\n", "if TYPE_CHECKING:\n    import a\nelse:\n    b = 1\n"),
    ],
)
def test_what_strip_takes_away(source: str, expected: str) -> None:
    assert userdata.strip(source) == expected


def test_every_carried_module_can_be_imported_alone(unpacked: Path) -> None:
    code = (
        "import sys, pkgutil, importlib; sys.path.insert(0, sys.argv[1])\n"
        "import cowgate\n"
        "names = [m.name for m in pkgutil.walk_packages(cowgate.__path__, 'cowgate.') if not m.name.endswith('__main__')]\n"
        "for name in names: importlib.import_module(name)\n"
        "print(len(names))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", code, str(unpacked / "hooks")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 60


def test_the_carried_program_makes_the_same_user_data(unpacked: Path) -> None:
    """Digests of the bundle too: a machine that came by user-data can make the next one."""
    command = [sys.executable, "-IB", str(unpacked / "hooks" / "cowgate" / "__main__.py"), "user-data", "--hostname", NAME]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stdout == userdata.build(Options(hostname=NAME))


def judge(hooks: Path, root: Path) -> dict[str, Any]:
    done = subprocess.run(
        [str(hooks / "cowgate.sh"), "check", "--offline", "--phase", "boot", "--root", str(root), "--format", "json"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 3, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    for changing in ("started", "finished", "generated", "digest", "run"):
        report.pop(changing, None)
    for row in report["rows"]:
        del row["seconds"]  # how long its facts took
    return report


def test_the_carried_program_judges_as_the_source_does(unpacked: Path, tmp_path: Path) -> None:
    (tmp_path / "etc" / "network" / "interfaces.d").mkdir(parents=True)
    (tmp_path / "etc" / "network" / "interfaces").write_text(
        "auto eth0:0\niface eth0:0 inet6 static\n  address 2001:db8::1/64\n"
    )
    (tmp_path / "etc" / "os-release").write_text('ID=debian\nVERSION_ID="13"\nPRETTY_NAME="Debian GNU/Linux 13 (trixie)"\n')
    ours, carried = judge(ROOT / "hooks", tmp_path), judge(unpacked / "hooks", tmp_path)
    assert ours["rows"] == carried["rows"]
    assert {row["status"] for row in ours["rows"]} >= {"fail", "deferred"}
    assert set(ours) == set(carried)


def test_it_unpacks_where_a_tree_was_left_half_written(tmp_path: Path) -> None:
    """The script as the machine runs it, with the machine's directories put below a directory of ours."""
    home, sbin = tmp_path / "opt", tmp_path / "sbin"
    for place in (home / "hooks" / "cowgate", home / "new", sbin):
        place.mkdir(parents=True)
    (home / "hooks" / "cowgate" / "stale.py").write_text("broken(")
    (sbin / "cowgate").write_text("something else")
    (home / "bundle").write_bytes(userdata.bundle())
    got = CARRIED.joinpath("get").read_text().replace("/opt/cowgate", str(home)).replace("/usr/local/sbin", str(sbin))
    (tmp_path / "get").write_text(got)
    unpack = [sys.executable, "-I", str(tmp_path / "get"), "unpack", str(home / "bundle")]
    for _ in range(2):
        done = subprocess.run(unpack, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")
        assert not (home / "hooks" / "cowgate" / "stale.py").exists() and not (home / "new").exists()
        assert (sbin / "cowgate").read_bytes() == (home / "hooks" / "cowgate" / "command.sh").read_bytes()
        assert os.access(sbin / "cowgate", os.X_OK)
    (sbin / "cowgate").write_text("")
    assert subprocess.run(unpack, timeout=60).returncode == 0
    assert (sbin / "cowgate").stat().st_size > 0, "an empty command is put right"


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_command_prints_it_and_tells_the_size(capsys: pytest.CaptureFixture[str]) -> None:
    assert ask("--hostname", NAME, "--provider", "nocloud") == 0
    out, err = capsys.readouterr()
    assert out == userdata.build(Options(hostname=NAME))
    assert err == f"cowgate: {len(out)} bytes; nocloud takes 1048576 (a seed file of your own; the bound is ours)\n"


def test_a_bundle_is_pinned_by_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bundle"
    assert ask("--hostname", NAME, "--provider", "ec2", "--bundle", str(file), "--url", "https://www.cowgate.test/b") == 0
    out, _ = capsys.readouterr()
    assert hashlib.sha256(file.read_bytes()).hexdigest() in out and "https://www.cowgate.test/b" in out
    assert file.read_bytes() == userdata.bundle()


def test_keys_from_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.pub"
    file.write_text(f"# mine\n{KEY}\n\nssh-rsa AAAAB3== x\n")
    assert ask("--ask-later", "--url", "http://x", "--sha256", "0" * 64, "--ssh-key", str(file), "--ssh-key", KEY) == 0
    assert yaml.safe_load(capsys.readouterr().out)["ssh_authorized_keys"] == [KEY, "ssh-rsa AAAAB3== x", KEY]


def test_a_policy_may_ask_for_an_error_of_cloud_init(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f"hostname: {NAME}\nfail_cloud_init: true\n")
    assert ask("--policy", str(file), "--url", "http://x", "--sha256", "0" * 64) == 0
    assert parsed(capsys.readouterr().out)["runcmd"][-1] == ["sh", "/opt/cowgate/begin", "--once"]


def test_a_policy_with_its_host_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f"hostname: {NAME}\n")
    assert ask("--policy", str(file), "--url", "http://x", "--sha256", "0" * 64) == 0
    document = parsed(capsys.readouterr().out)
    assert content(document, "/etc/cowgate/policy.yaml") == file.read_bytes()
    assert yaml.safe_load(content(document, userdata.SETTINGS)) == {}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "no host name is given"),
        (["--hostname", "mail"], "'mail' cannot be mailcow's host name: it has 1 part, but needs at least three"),
        (["--hostname", "mail.example.org"], "this name is reserved for documentation"),
        (["--hostname", "mail.a_b.de"], "'a_b' is not a valid part"),
        (["--hostname", f'{NAME}"\nx: y'], "is not a valid part"),
        (["--hostname", NAME, "--timezone", "Europe/Vienna; rm"], "there is no time zone"),
        (["--hostname", NAME, "--provider", "hetznr"], "unknown provider 'hetznr'; did you mean 'hetzner'?"),
        (["--hostname", NAME, "--provider", "hetzner"], "more than hetzner takes (Hetzner Cloud API"),
        (["--hostname", NAME, "--url", "https://x"], "an address and --sha256 go together"),
        (["--hostname", NAME, "--sha256", "0" * 64], "an address and --sha256 go together"),
        (["--hostname", NAME, "--url", "ftp://x", "--sha256", "0" * 64], "'ftp://x' is no address"),
        (["--hostname", NAME, "--url", "https://x y", "--sha256", "0" * 64], "is no address"),
        (["--hostname", NAME, "--url", "https://x", "--sha256", "0" * 63], "--sha256: a digest has 64 digits"),
        (["--hostname", NAME, "--proxy", "proxy.cowgate.test:3128"], "--proxy: 'proxy.cowgate.test:3128' is no address"),
        (["--hostname", NAME, "--proxy", 'http://a"b'], "is no address like http://proxy"),
        (["--hostname", NAME, "--policy", "/nowhere/policy"], "the policy /nowhere/policy cannot be read"),
        (["--hostname", NAME, "--ssh-key", "/nowhere/key.pub"], "--ssh-key: /nowhere/key.pub: No such file"),
        (["--hostname", NAME, "--ssh-key", "not a key"], "'not a key' is no public key"),
        (["--hostname", NAME, "--ssh-key", "-----BEGIN OPENSSH PRIVATE KEY-----"], "a private key"),
        (["--bundle", "/nowhere/bundle"], "--bundle: /nowhere/bundle: No such file"),
        (["--bundle", "/dev/null", "--sha256", "0" * 64], "the bundle of this cowgate has the digest"),
    ],
)
def test_refusals_are_one_sentence(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert ask(*words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    first, *rest = err.splitlines()
    assert said in first and first.startswith("cowgate: ")
    assert len(rest) <= 1 and all(line.startswith("  hint: ") for line in rest)


def test_a_broken_policy_is_refused_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "policy.yaml"
    file.write_text(f"hostname: {NAME}\ntimezon: x\n")
    assert ask("--policy", str(file)) == 2
    assert f"{file}, line 2, column 1: unknown key 'timezon'; did you mean 'timezone'?" in capsys.readouterr().err


def test_a_file_without_a_key_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "keys.pub"
    file.write_text("# none\n")
    assert ask("--hostname", NAME, "--ssh-key", str(file)) == 2
    assert "there is no key in" in capsys.readouterr().err
