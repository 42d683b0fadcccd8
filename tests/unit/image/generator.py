"""Secrets and identities as people leave them: every pair of a place and a content, under changing names and owners.

None of it comes from the product: keys are made by another library, places and names are what image builds were seen to leave.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass

from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

PLACES = (
    "/etc",
    "/etc/nginx/conf.d",
    "/etc/systemd/system/app.service.d",
    "/etc/cron.d",
    "/etc/ansible",
    "/root",
    "/root/.config/app",
    "/root/work/deploy",
    "/home/anna",
    "/home/anna/.local/bin",
    "/home/gone/.ssh",
    "/opt/app/config",
    "/opt/backup",
    "/srv/www",
    "/srv/git/hooks",
    "/usr/local/etc",
    "/usr/local/lib/app",
    "/var/lib/app",
    "/var/lib/jenkins/secrets",
    "/var/www/html",
    "/backup/old",
    "/data",
)
NAMES = ("notes", "server.old", "a b.txt", ".hidden", "backup-2026.bak", "settings.conf", "dump.1", "id", "é.cfg", "x~")
OWNERS = (0, 1000, 999, 65534)
B64 = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class Plant:
    kind: str  # of content
    path: str
    content: bytes
    owner: int


def _mixed(alphabet: str, length: int, seed: int) -> str:
    """Text that looks random and is the same in every run."""
    state, found = seed * 2654435761 % 2**32, []
    for _ in range(length):
        state = (state * 1664525 + 1013904223) % 2**32
        found.append(alphabet[(state >> 16) % len(alphabet)])
    return "".join(found)


def contents() -> dict[str, bytes]:
    """Kind -> what a file of that kind holds."""
    key = rsa.generate_private_key(65537, 1024)
    curve = ec.generate_private_key(ec.SECP256R1())
    edwards = ed25519.Ed25519PrivateKey.generate()
    locked, none = s.BestAvailableEncryption(b"x"), s.NoEncryption()
    pem, der, raw = s.Encoding.PEM, s.Encoding.DER, s.PrivateFormat
    hexa, alnum = "0123456789abcdef", B64[2:]
    pem_rsa = key.private_bytes(pem, raw.TraditionalOpenSSL, none)
    return {
        "PEM RSA": pem_rsa,
        "PEM PKCS#8": curve.private_bytes(pem, raw.PKCS8, none),
        "PEM encrypted": key.private_bytes(pem, raw.PKCS8, locked),
        "PEM EC": curve.private_bytes(pem, raw.TraditionalOpenSSL, none),
        "PEM in CRLF": pem_rsa.replace(b"\n", b"\r\n"),
        "PEM in YAML": b"key: |\n" + b"".join(b"  " + line + b"\n" for line in pem_rsa.splitlines()),
        "PEM in JSON": json.dumps({"private": pem_rsa.decode()}).encode(),
        "PEM after text": b"Bag Attributes\n    friendlyName: x\n" + pem_rsa,
        "OpenSSH": edwards.private_bytes(pem, raw.OpenSSH, none),
        "DER PKCS#1": key.private_bytes(der, raw.TraditionalOpenSSL, none),
        "DER PKCS#8": curve.private_bytes(der, raw.PKCS8, none),
        "DER EC": curve.private_bytes(der, raw.TraditionalOpenSSL, none),
        "DER encrypted": key.private_bytes(der, raw.PKCS8, locked),
        "PKCS#12": pkcs12.serialize_key_and_certificates(b"x", key, None, None, locked),
        "sha512crypt": f"admin:$6$rounds=5000$abcdefgh${_mixed(B64, 86, 1)}\n".encode(),
        "yescrypt": f"hash = $y$j9T$abcdefghijklmnop${_mixed(B64, 43, 2)}\n".encode(),
        "bcrypt": f"web:$2y$10${_mixed(B64, 53, 3)}\n".encode(),
        "argon2": f"$argon2id$v=19$m=65536,t=3,p=4${_mixed(alnum, 22, 4)}${_mixed(alnum, 43, 4)}\n".encode(),
        "apr1": f"web:$apr1$abcdefgh${_mixed(B64, 22, 5)}\n".encode(),
        "short hash in shadow form": b"root:$6$x$y:20000:0:99999:7:::\n",
        "proxy URL": b'http_proxy="http://build:Tr0ub4dor@proxy.internal:3128/"\n',
        "git URL": b"[remote]\n\turl = https://ci:Tr0ub4dor@git.internal/app.git\n",
        "database URL": b"DATABASE_URL=postgres://app:Tr0ub4dor@db.internal/app\n",
        "GitHub": f"GH=ghp_{_mixed(alnum, 36, 6)}\n".encode(),
        "GitLab": f"glpat-{_mixed(alnum, 20, 7)}\n".encode(),
        "AWS": f"[default]\naws_access_key_id = AKIA{_mixed('ABCDEFGHIJKLMNOPQRSTUVWXYZ234567', 16, 8)}\n".encode(),
        "Slack": f"token xoxb-{_mixed('0123456789', 12, 9)}-{_mixed(alnum, 24, 9)}\n".encode(),
        "DigitalOcean": f"dop_v1_{_mixed(hexa, 64, 10)}\n".encode(),
        "JWT": b".".join(
            base64.urlsafe_b64encode(part).rstrip(b"=")
            for part in (b'{"alg":"HS256","typ":"JWT"}', b'{"sub":"1234567890"}', b"0" * 32)
        ),
        "password = value": b"[client]\nuser = root\npassword = Tr0ub4dor\n",
        "export": b"export RESTIC_PASSWORD='Tr0ub4dor'\n",
        "YAML password": b"db:\n  user: app\n  password: Tr0ub4dor\n",
        "JSON secret": b'{"client": {"id": 1, "secret": "Tr0ub4dor"}}\n',
        "XML": b"<?xml version='1.0'?>\n<c><server><password>Tr0ub4dor</password></server></c>\n",
        "api key": b"API_KEY=Tr0ub4dor\n",
        "curl": b"* * * * * root curl -s -u backup:Tr0ub4dor https://x.internal/\n",
        "WireGuard": f"[Interface]\nPrivateKey = {base64.b64encode(bytes(range(32))).decode()}\n".encode(),
    }


def plants() -> Iterator[Plant]:
    """More than 300: each kind of content at ten places."""
    for number, (kind, content) in enumerate(contents().items()):
        for turn in range(10):
            place = PLACES[(number * 3 + turn * 7) % len(PLACES)]
            name = NAMES[(number + turn) % len(NAMES)]
            yield Plant(kind, f"{place}/{number}-{turn}-{name}", content, OWNERS[(number + turn) % len(OWNERS)])


def innocents() -> dict[str, bytes]:
    """A hundred that only look like it."""
    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    public = curve.public_bytes(s.Encoding.PEM, s.PublicFormat.SubjectPublicKeyInfo)
    texts = {
        "secret.pub": f"{B64 * 2}\n",
        "passwords": "/etc/app/passwords.d\n",
        "cookie": "<cookie>\n",
        "archive.key": "see keyring\n",
        "short.token": "none\n",
        "wp-config-sample.php": "<?php\ndefine( 'AUTH_KEY', 'put a unique phrase here' );\ndefine('DB_PASS', getenv('DB'));\n",
        "snmpd.conf": "rocommunity public default\n# rocommunity s3cret\n",
        "consul.hcl": 'encrypt = "${GOSSIP}"\nencrypt_verify_incoming = true\n',
        "app.config": '<add key="PasswordLength" value="12" />\n<add key="Theme" value="dark" />\n',
        "database.json": '{"db": "Server=db;User Id=sa;Password=${PW};"}\n',
        "hwdb": "usb:v0451:d41d8cd98f00b204e9800998ecf8427e\n ID_AUTOSEAT=1\n",
        "empty.conf": "password =\n",
        "quoted.conf": 'password = ""\n',
        "yaml.yml": "password:\nuser: x\n",
        "null.yml": "token: null\nsecret: ~\n",
        "variable.env": "DB_PASSWORD=$FROM_VAULT\n",
        "braces.yml": "password: ${DB_PASSWORD}\n",
        "jinja.conf": "password = {{ vault_password }}\n",
        "angle.conf": "password = <your password>\n",
        "stars.conf": "password = ********\n",
        "crosses.conf": "password = xxxxxxxx\n",
        "comment.conf": "# password = example\n; password = example\n",
        "file.conf": "password_file = /run/secrets/db\nsecret = /etc/app/db.secret\n",
        "sshd.conf": "PasswordAuthentication no\nPermitEmptyPasswords no\n",
        "nss.conf": "passwd: files systemd\nshadow: files\n",
        "pam.conf": "password requisite pam_pwquality.so retry=3\n",
        "logindefs": "PASS_MAX_DAYS 99999\nPASS_MIN_DAYS 0\n",
        "spf.conf": "spf = pass:softfail:neutral\n",
        "tls.conf": "ssl_certificate_key /etc/ssl/private/site.key;\ntls_privatekey = CONF_DIR/x\n",
        "macro.conf": "tls_privatekey = MAIN_TLS_PRIVATEKEY\n",
        "npm.lock": '{"resolved": "https://registry.example.org/@scope/pkg"}\n',
        "port.conf": "url = http://localhost:4873/@scope/pkg\nmap = https://maps.example.org:443/@48.1,11.5\n",
        "mail.conf": "contact = mailto:admin@example.org\nremote = git@github.com:x/y.git\nssh://git@github.com/x\n",
        "marker.py": "MARK = '-----BEGIN RSA PRIVATE KEY-----'\n",
        "marker.sh": "grep -q 'BEGIN OPENSSH PRIVATE KEY' \"$1\"\n",
        "doc.md": "Set `password: hunter2` in the file, or http://user:password@proxy.example.com\n",
        "doc.rst": "proxy = http://user:pass@host:8080\n",
        "hash.md": "A hash looks like $6$salt$hash or $2y$10$...\n",
        "sha.txt": "d41d8cd98f00b204e9800998ecf8427e  empty\n",
        "uuid.conf": "id = 123e4567-e89b-12d3-a456-426614174000\n",
        "bool.yml": "lock_passwd: True\nssh_pwauth: false\nchpasswd: {expire: false}\n",
        "json.json": '{"token": "", "password": null, "auth": true, "key": "value"}\n',
        "ini.ini": "[auth]\ntype = password\nbackend = keyring\n",
        "tokens.conf": "token_ttl = 3600\nmax_tokens = 5\npasswd_tries = 3\n",
        "aws.md": "AKIAIOSFODNN7EXAMPLE\n",
        "placeholder.py": "TOKEN = 'ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'\n",
        "ssh.pub": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx somebody\n",
        "known.txt": "github.com ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n",
        "trust.key": ". IN DNSKEY 257 3 8 AwEAAaz/tAm8yTn4Mfeh5eyI96WSVexTBAvkMgJzkKTOiW1vkIbzxeF3\n",
        "crypttab": "# <target> <source> <key file> <options>\n",
        "compose.yml": "services:\n  db:\n    environment:\n      - POSTGRES_PASSWORD_FILE=/run/secrets/db\n",
        "dropin.conf": "[Service]\nEnvironment=HTTP_PROXY=http://proxy.example.org:3128\n",
        "sudo.conf": "Defaults passwd_timeout=5\n",
        "rules.conf": "access_token_lifetime: 60\ncookie_secure: true\n",
        "public.pem": public.decode(),
        "pgp.asc": "-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nmQINBFit\n-----END PGP PUBLIC KEY BLOCK-----\n",
        "cert.pem": "-----BEGIN CERTIFICATE-----\nMIIBszCCAVmgAwIBAgIUQ\n-----END CERTIFICATE-----\n",
        "request.csr": "-----BEGIN CERTIFICATE REQUEST-----\nMIIBszCC\n-----END CERTIFICATE REQUEST-----\n",
        "dh.pem": "-----BEGIN DH PARAMETERS-----\nMIIBCAKCAQEA\n-----END DH PARAMETERS-----\n",
        "public.der.txt": base64.b64encode(public).decode(),
        "empty": "",
    }
    found = {f"/etc/app/{name}": text.encode() for name, text in texts.items()}
    found.update({f"/opt/app/{name}": text.encode() for name, text in texts.items()})
    found["/srv/public.der"] = curve.public_bytes(s.Encoding.DER, s.PublicFormat.SubjectPublicKeyInfo)
    return found
