"""A fourth set, made of what was told of the misses of others' sets in general words: opaque files, notations, notes, traces.

Written after rules for the same words were begun: it shows that they work, and what it found at first says little.
"""

from __future__ import annotations

import base64
import contextlib
import json
import pickle
import sqlite3

from tests.unit.image.blind import A32, A40, HEX64, IDENTITY, OPENSSH, SECRET, TRACE
from tests.unit.image.blind3 import RANDOM, UUID, W1, W2, W3, W4, tar_of, zip_of


def database(*statements: str) -> bytes:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        if hasattr(connection, "serialize"):
            return bytes(connection.serialize())
        return b"SQLite format 3\0" + bytes(84) + "\n".join(connection.iterdump()).encode()  # Python before 3.11


SSH_RSA = b"\0\0\0\x07ssh-rsa\0\0\0\x03\1\0\1" + RANDOM[:200]
DOCX = zip_of({"word/document.xml": f"<w:p><w:r><w:t>Passwort: </w:t></w:r><w:r><w:t>{W1}</w:t></w:r></w:p>".encode()})

BLIND: tuple[tuple[str, str, str | bytes], ...] = (
    # opaque
    (SECRET, "/root/outer.tar", tar_of({"inner.tar.gz": tar_of({"x/.env": f"DB_PASSWORD={W1}\n".encode()})}, "w")),
    (SECRET, "/srv/app.jar", zip_of({"application.properties": f"db.password={W1}\n".encode()})),
    (SECRET, "/home/anna/zugang.docx", DOCX),
    (SECRET, "/home/anna/old.7z", b"7z\xbc\xaf\x27\x1c" + RANDOM[:300]),
    (SECRET, "/root/stuff.tar.zst", b"\x28\xb5\x2f\xfd" + RANDOM[:300]),
    (SECRET, "/srv/vm/disk.qcow2", b"QFI\xfb\0\0\0\3" + bytes(600)),
    (SECRET, "/srv/vm/root.img", bytes(1080) + b"\x53\xef" + bytes(600)),
    (SECRET, "/home/anna/scan.pdf", b"%PDF-1.7\n" + RANDOM[:400]),
    (SECRET, "/root/repo.bundle", b"# v2 git bundle\n" + RANDOM[:200]),
    (SECRET, "/opt/x/state.pickle", pickle.dumps({"host": "db", "password": W1}, protocol=4)),
    (SECRET, "/srv/x/app.sqlite", database("CREATE TABLE u (id INT, pw TEXT)", f"INSERT INTO u VALUES (1, '{W1}')")),
    (SECRET, "/srv/x/kv.sqlite", database("CREATE TABLE s (name TEXT, value TEXT)", f"INSERT INTO s VALUES ('smtp_password', '{W2}')")),
    (SECRET, "/opt/x/tool.pyc", b"\xa7\r\r\n" + bytes(12) + b"\xe3\0\0\0\0DB_PASSWORD\xda\x0a" + W1.encode() + b"\xda\0\0\0"),
    (SECRET, "/usr/local/bin/agent", b"\x7fELF\2\1\1\0" + bytes(60) + b"postgres://app:" + W3.encode() + b"@db.internal:5432/app\0" + bytes(60)),
    (SECRET, "/root/setup.run", f"#!/bin/sh\ntail -n +4 $0 | sh\nexit\nPASSWORD='{W1}'\n"),
    (SECRET, "/var/backups/redis.rdb", b"REDIS0011" + RANDOM[:100]),
    # encodings and languages
    (SECRET, "/etc/a/latin1.ini", f"# Gr\xfc\xdfe\nKennwort={W1}\n".encode("latin-1")),
    (SECRET, "/etc/a/es.ini", f"contrase\xf1a={W1}\n".encode("latin-1")),
    (SECRET, "/etc/a/jp.ini", f"パスワード={W1}\n".encode("shift_jis")),
    (SECRET, "/etc/a/jp8.ini", f"パスワード: {W1}\n"),
    (SECRET, "/etc/a/zh.ini", f"密码={W2}\n".encode("gbk")),
    (SECRET, "/etc/a/ru.ini", f"пароль={W2}\n".encode("cp1251")),
    (SECRET, "/etc/a/koi.ini", f"пароль={W2}\n".encode("koi8-r")),
    (SECRET, "/etc/a/ko.ini", f"비밀번호={W1}\n"),
    (SECRET, "/etc/a/gr.ini", f"κωδικός={W1}\n"),
    (SECRET, "/etc/a/be.ini", f"[x]\npasswd={W1}\n".encode("utf-16-be")),
    # notations
    (SECRET, "/opt/n/a.php", f"<?php $c = mysqli_connect('db', 'app', '{W3}');\n"),
    (SECRET, "/opt/n/b.pl", f"my $h = DBI->connect('dbi:mysql:x', 'app', '{W1}');\n"),
    (SECRET, "/etc/n/c.conf", f"dsn = app:{W3}@tcp(db:3306)/app\n"),
    (SECRET, "/etc/n/d.conf", f"connect = scott/{W3}@db.internal:1521/ORCL\n"),
    (SECRET, "/etc/n/e.config", f'[{{user, "app"}}, {{password, "{W1}"}}].\n'),
    (SECRET, "/etc/n/f.edn", f'{{:user "app" :password "{W1}"}}\n'),
    (SECRET, "/opt/n/g.h", f'#define WIFI_PASSWORD "{W1}"\n'),
    (SECRET, "/etc/n/h.xml", f'<c><param name="password" value="{W1}"/></c>\n'),
    (SECRET, "/home/anna/i.html", f"<table><tr><th>Host</th><th>Password</th></tr><tr><td>nas</td><td>{W1}</td></tr></table>\n"),
    (SECRET, "/var/lib/n/j", f'a:2:{{s:4:"user";s:3:"app";s:8:"password";s:10:"{W1}";}}'),
    (SECRET, "/etc/munin/k", f"[mysql]\nenv.mysqlpassword {W1}\n"),
    (SECRET, "/etc/n/l.cfg", f"command[x]=/usr/lib/check_http -H x -a ops:{W1}\n"),
    (SECRET, "/usr/local/bin/m", f"#!/bin/sh\necho {W1} | openconnect --passwd-on-stdin vpn.lab.test\n"),
    (SECRET, "/usr/local/bin/n", f"#!/bin/sh\nftp -n x <<E\nuser anna {W1}\nput y\nE\n"),
    (SECRET, "/etc/n/o.cfg", f"$USER7$={W3}\n"),
    (SECRET, "/opt/n/Makefile", f"DEPLOY_PASS = {W1}\nall:\n\ttrue\n"),
    (SECRET, "/var/qmail/control/smtproutes", f":smtp.lab.test:587 anna {W1}\n"),
    (SECRET, "/etc/n/p.cfg", f"stats auth ops:{W1}\n"),
    (SECRET, "/etc/n/q.conf", f"dnpass = {W1}\nbind_pw = {W2}\n"),
    (SECRET, "/etc/n/r.conf", "AuthPass=abcd efgh ijkl mnop\n"),
    (SECRET, "/etc/n/s.conf", f'location / {{ if ($http_x_token != "{A32}") {{ return 403; }} }}\n'),
    (SECRET, "/etc/n/t.cf", f"smtp_sasl_password_maps = static:anna:{W1}\n"),
    (SECRET, "/etc/n/u.conf", f'url = "https://x.blob.core.windows.net/c?sv=2022&sig={A40}abc%3D"\n'),
    (SECRET, "/etc/n/v.conf", "rbl = a1b2c3d4e5f6g7h8i9j0k1l2m3.zen.dq.spamhaus.net\n"),
    (SECRET, "/srv/n/users.csv", f"imap.a.test;anna@a.test;{W1};imap.b.test;anna@b.test;{W1}\n"),
    (SECRET, "/usr/local/bin/w.ps1", f'$p = ConvertTo-SecureString "{W1}" -AsPlainText -Force\n'),
    (SECRET, "/etc/systemd/system/jenkins-agent.service", f"[Service]\nExecStart=java -jar agent.jar -secret {HEX64} -name x\n"),
    # values without a name
    (SECRET, "/etc/credstore/db", f"{W1}\n"),
    (SECRET, "/root/solana.json", json.dumps(list(RANDOM[:64]))),
    (SECRET, "/root/UTC--2024", json.dumps({"version": 3, "crypto": {"cipher": "aes-128-ctr", "ciphertext": HEX64, "kdf": "scrypt"}})),
    (SECRET, "/opt/v/k.xml", f"<RSAKeyValue><Modulus>{A40}</Modulus><D>{A40}{A40}</D></RSAKeyValue>"),
    (SECRET, "/srv/v/old", "anna:Xq9vEjRW3Jcrz:1001:100::/home/anna:/bin/sh\n"),
    (SECRET, "/etc/v/dropbear", SSH_RSA),
    (SECRET, "/root/v.msg", "From: a@x.test\nContent-Transfer-Encoding: base64\n\n" + base64.encodebytes(f"Hallo Anna,\ndas Passwort ist {W1}, bitte nicht weitergeben.\nGruss und bis bald, dein Kollege aus dem Rechenzentrum\n".encode()).decode()),
    (SECRET, "/boot/k", RANDOM[:64]),
    (SECRET, "/root/zettel.txt", "hannes / Sommer2024!\n"),
    (SECRET, "/root/.ssh2/id", OPENSSH),
    (SECRET, "/home/anna/merken", f"router 192.168.1.1 admin {W4}\n"),
    # identities
    (IDENTITY, "/var/lib/x/uuid", UUID + "\n"),
    (IDENTITY, "/opt/x/conf/auto.cnf", f"[auto]\nserver-uuid={UUID}\n"),
    (IDENTITY, "/etc/mdadm/mdadm.conf", "ARRAY /dev/md0 metadata=1.2 name=build7:0 UUID=4bd19a7c:03fe5286:b1c97d20:e8f4a35b\n"),
    (IDENTITY, "/root/dmi.txt.out", "# dmidecode 3.4\nSystem Information\n\tSerial Number: CZ1234ABCD\n"),
    (IDENTITY, "/etc/zfs/zpool.cache", b"\1\1\0\0" + bytes(60)),
    (IDENTITY, "/etc/dropbear/initramfs/authorized_keys", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEx anna@laptop\n"),
    # traces
    (TRACE, "/home/berta/.gitconfig", "[user]\n\tname = Berta\n"),
    (TRACE, "/srv/www/.DS_Store", b"\0\0\0\1Bud1" + bytes(40)),
    (TRACE, "/srv/app/.git/logs/HEAD", "0 1 Anna <anna@lab.test> 1700000000 +0100\tcommit: x\n"),
    (TRACE, "/etc/nginx/nginx.conf.dpkg-old", "events {}\n"),
    (TRACE, "/root/rec.cast", '{"version": 2, "width": 80}\n'),
    (TRACE, "/home/anna/.vscode-server/x.json", "{}\n"),
    (TRACE, "/home/anna/kontakte.vcf", "BEGIN:VCARD\nFN:Anna\nEND:VCARD\n"),
)  # fmt: skip
