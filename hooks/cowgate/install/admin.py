"""The password of mailcow's admin account: a fresh install lets everybody in as admin / moohoo until it is changed."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import stat
from collections.abc import Callable
from typing import TYPE_CHECKING

from cowgate.errors import InstallError, StateError

if TYPE_CHECKING:
    from cowgate.install.containers import Container
    from cowgate.machine.host import Completed, Host

ACCOUNT = "admin"
DEFAULT_PASSWORD = "moohoo"
PASSWORD_FILE = "/var/lib/cowgate/mailcow-admin.password"
SCHEME = "{SSHA256}"  # one of those that mailcow's login takes, and that the standard library can make
DATABASE_WAIT = 300.0  # seconds until mailcow's web part has made its tables
PAUSE = 3.0
QUERY_TIMEOUT = 60.0
# The client has another name in older images.
CLIENT = 'command -v mariadb >/dev/null && exec mariadb "$@"; exec mysql "$@"'
LENGTH_OF_DIGEST = 32


def hashed(password: str, salt: bytes) -> str:
    """The password as mailcow keeps it."""
    return SCHEME + base64.b64encode(hashlib.sha256(password.encode() + salt).digest() + salt).decode()


def fits(password: str, stored: str) -> bool:
    """Whether `stored` is this password, for the one scheme that we know."""
    if not stored.startswith(SCHEME):
        return False
    try:
        raw = base64.b64decode(stored[len(SCHEME) :], validate=True)
    except (ValueError, binascii.Error):
        return False
    digest, salt = raw[:LENGTH_OF_DIGEST], raw[LENGTH_OF_DIGEST:]
    return secrets.compare_digest(hashlib.sha256(password.encode() + salt).digest(), digest)


def given_password(host: Host, given: str) -> str:
    """The password in a file of the owner's. Raises StateError where that is missing, empty, or readable by others than
    root."""
    try:
        found, text = host.stat(given), host.read(given, 4096)
    except OSError as error:
        raise StateError(f"install.admin_password_file: {given}: {error.strerror}") from None
    if found.st_uid != host.euid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise StateError(
            f"install.admin_password_file: others than root can read {given}",
            hint=f"chown root {given}; chmod 600 {given}",
        )
    first = text.splitlines()[0] if text.splitlines() else ""
    if not re.fullmatch(r"[ -~]{8,128}", first):
        raise StateError(
            f"install.admin_password_file: the first line of {given} is no password",
            hint="8 to 128 letters, digits and signs of ASCII, in one line",
        )
    return first


def password_of(host: Host, given: str) -> tuple[str, str]:
    """The password that the account gets, and the file that has it (`given`, where the owner named one). It is on the disk
    before it is used anywhere. Raises StateError."""
    if given:
        return given_password(host, given), given
    before = (host.read_or_none(PASSWORD_FILE) or "").strip()
    if before:  # of an install that was cut off between the two
        return before, PASSWORD_FILE
    made = secrets.token_urlsafe(18)
    host.write_atomic(PASSWORD_FILE, f"{made}\n".encode("ascii"), mode=0o600)
    return made, PASSWORD_FILE


def file_of(host: Host, given: str, stored: str) -> str:
    """The file that has the password which is stored, "" where somebody chose another one."""
    for path in (given, PASSWORD_FILE):
        kept = (host.read_or_none(path) or "").splitlines() if path else []
        if kept and fits(kept[0], stored):
            return path
    return ""


class Database:
    """mailcow's database, asked by its own client in its own container."""

    def __init__(self, host: Host, container: Container, conf: dict[str, str]) -> None:
        self.host, self.container = host, container
        self.user, self.name, self.password = conf.get("DBUSER", ""), conf.get("DBNAME", ""), conf.get("DBPASS", "")

    def ask(self, query: str) -> Completed:
        """The password goes through the environment and the query through standard input: neither is seen in `ps`."""
        argv = ["docker", "exec", "--interactive", "--env", "MYSQL_PWD", self.container.id, "sh", "-c", CLIENT, "sh"]
        argv += ["--batch", "--skip-column-names", f"--user={self.user}", self.name]
        return self.host.run(argv, timeout=QUERY_TIMEOUT, env={"MYSQL_PWD": self.password}, input=query, ok=None)

    def admin(self) -> str | None:
        """The stored password of the account; "" where there is no such account, None where there are no tables yet."""
        done = self.ask(f"SELECT password FROM admin WHERE username = '{ACCOUNT}';\n")
        return done.out.strip() if done.code == 0 else None

    def set_admin(self, stored: str, before: str) -> None:
        """Only where it is still as it was: who changed it meanwhile keeps the change. Raises InstallError."""
        done = self.ask(
            f"UPDATE admin SET password = '{stored}' WHERE username = '{ACCOUNT}' AND superadmin = 1"
            f" AND password = '{before}';\n"
        )
        if done.code != 0:
            raise InstallError(
                f"mailcow's database did not take the new password of {ACCOUNT} (exit code {done.code})",
                hint="change it in the web interface at once: it is the default one",
            )


def stored_password(host: Host, database: Database, wait: float) -> str:
    """What the database has for the account, once it has it. Raises InstallError after `wait` seconds."""
    until = host.monotonic() + wait
    while not (stored := database.admin()):
        if host.monotonic() > until:
            raise InstallError(
                f"mailcow's database has no {ACCOUNT} account after {wait:.0f} s",
                hint="see `docker logs mailcowdockerized-php-fpm-mailcow-1`; `cowgate install` goes on from here",
            )
        host.sleep(PAUSE)
    return stored


def has_default(host: Host, database: Database, wait: float) -> bool:
    """Whether everybody can log in. False where the database has no tables within `wait` seconds, or no such account: that of
    a moved mailcow may have another name."""
    until = host.monotonic() + wait
    while (stored := database.admin()) is None:
        if host.monotonic() > until:
            return False
        host.sleep(PAUSE)
    return fits(DEFAULT_PASSWORD, stored)


def set_password(
    host: Host, database: Database, given: str, progress: Callable[[str], None], wait: float = DATABASE_WAIT
) -> str:
    """Give the account a password of its own where it has the default one; `wait` is how many seconds the database may take to
    have it. Returns the file that has it, "" where somebody chose another one before. Raises InstallError, StateError."""
    stored = stored_password(host, database, wait)
    if not fits(DEFAULT_PASSWORD, stored):
        return file_of(host, given, stored)
    password, path = password_of(host, given)
    database.set_admin(hashed(password, secrets.token_bytes(8)), stored)
    if not fits(password, database.admin() or ""):
        raise InstallError(
            f"mailcow's {ACCOUNT} account did not get its new password",
            hint="change it in the web interface at once: it is the default one",
        )
    progress(f"the {ACCOUNT} account has a password of its own, in {path}")
    return path
