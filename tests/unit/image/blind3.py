"""A third set, made of notations and languages instead of products: every kind of file in which a person or a program writes a secret.

Written down before the rules of words.py, notation.py, doubt.py, packed.py and data.py were: what was found of it at first stands in
packer/README.md. The values are made up; nothing of it is named in a table of cowgate.
"""

from __future__ import annotations

import base64
import bz2
import contextlib
import gzip
import hashlib
import io
import json
import lzma
import sqlite3
import tarfile
import zipfile

from tests.unit.image.blind import (
    A20,
    A24,
    A32,
    A40,
    A64,
    B64,
    BCRYPT,
    HEX32,
    HEX40,
    HEX64,
    IDENTITY,
    OPENSSH,
    SECRET,
    TRACE,
    pem,
)

W1, W2, W3, W4 = "Birnbaum7!", "nachtigall.42", "xK3pQ9vL2m", "Zaun&Koenig88"
UUID = "8c2f6b1e-40d7-4f3a-b1c9-5e7a9d036f24"
RANDOM = bytes(hashlib.shake_128(b"blind3").digest(4096))


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def tar_of(files: dict[str, bytes], mode: str = "w:gz") -> bytes:
    into = io.BytesIO()
    with tarfile.open(fileobj=into, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return into.getvalue()


def zip_of(files: dict[str, bytes]) -> bytes:
    into = io.BytesIO()
    with zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data)
    return into.getvalue()


def sqlite_of(*statements: str) -> bytes:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()
        lines = "\n".join(connection.iterdump())
    return b"SQLite format 3\0" + bytes(84) + lines.encode()


def cpio_of(name: str, data: bytes) -> bytes:
    out = b""
    for entry, body in ((name, data), ("TRAILER!!!", b"")):
        numbers = (1, 0o100600, 0, 0, 1, 0, len(body), 0, 0, 0, 0, len(entry) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % number for number in numbers) + entry.encode() + b"\0"
        out += head + bytes(-len(head) % 4) + body + bytes(-len(body) % 4)
    return out


BLIND: tuple[tuple[str, str, str | bytes], ...] = (
    # names in other words and notations
    (SECRET, "/etc/kasse/kasse.ini", f"[Datenbank]\nBenutzer = kasse\nKennwort = {W1}\n"),
    (SECRET, "/opt/zeit/zeit.properties", f"db.benutzer=zeit\ndb.passwort={W2}\n"),
    (SECRET, "/opt/compta/config.yml", f"base:\n  utilisateur: compta\n  mot_de_passe: {W1}\n"),
    (SECRET, "/opt/ventas/conexion.ini", f"[bd]\nusuario=ventas\ncontraseña={W3}\n"),
    (SECRET, "/opt/ventas/clave.env", f"BD_CLAVE={W4}\n"),
    (SECRET, "/srv/winkel/instellingen.json", json.dumps({"gebruiker": "winkel", "wachtwoord": W2})),
    (SECRET, "/srv/sklep/sklep.cfg", f"uzytkownik=sklep\nhaslo={W1}\n"),
    (SECRET, "/srv/loja/loja.yaml", f"usuario: loja\nsenha: \"{W3}\"\n"),
    (SECRET, "/etc/app/smtpPw.conf", f"smtpUser mail\nsmtpPw {W1}\n"),
    (SECRET, "/etc/app/a.toml", f'[mail]\nmailPwd = "{W2}"\n'),
    (SECRET, "/etc/app/b.json", json.dumps({"ldap": {"bindDn": "cn=x", "bindPw": W1}})),
    (SECRET, "/etc/app/c.ini", f"[s3]\nS3_ACCESS={A20}\nS3_SECRET_ACCESS={A40}\n"),
    (SECRET, "/etc/app/d.yml", f"broker:\n  user: mq\n  passwd_plain: {W3}\n"),
    (SECRET, "/etc/app/e.conf", "admin.pin = 739154\n"),
    (SECRET, "/etc/app/f.conf", f"signing_seed: {HEX64}\n"),
    (SECRET, "/etc/app/g.conf", f"session.salt={A32}\n"),
    (SECRET, "/etc/app/h.hcl", f'listener "tcp" {{\n  shared_key = "{A24}"\n}}\n'),
    (SECRET, "/etc/app/i.lua", f'return {{ dbUser = "x", dbPw = "{W1}" }}\n'),
    (SECRET, "/etc/app/j.xml", f'<?xml version="1.0"?>\n<config><jdbc user="app" pw="{W1}"/></config>\n'),
    (SECRET, "/etc/app/k.xml", f"<config>\n  <smtp>\n    <login>app</login>\n    <pwd>{W2}</pwd>\n  </smtp>\n</config>\n"),
    (SECRET, "/etc/app/l.plist", f'<?xml version="1.0"?>\n<plist><dict><key>Password</key><string>{W1}</string></dict></plist>\n'),
    (SECRET, "/etc/app/m.conf", f"connect timeout=5;uid=app;pwd={W3};database=x\n"),
    (SECRET, "/etc/app/n.reg", f'Windows Registry Editor Version 5.00\n\n[HKEY_LOCAL_MACHINE\\Software\\X]\n"DefaultPassword"="{W1}"\n'),
    (SECRET, "/etc/app/o.json5", f"{{\n  // local\n  apiKey: '{A24}',\n}}\n"),
    (SECRET, "/opt/app/settings.local.js", f"module.exports = {{\n  mongo: {{ user: 'app', pass: '{W1}' }},\n}};\n"),
    (SECRET, "/opt/app/conf.rb", f"Mail.defaults do\n  delivery_method :smtp, user_name: 'app', password: '{W1}'\nend\n"),
    (SECRET, "/opt/app/db.php", f"<?php\n$link = mysqli_connect('localhost', 'app', '{W3}', 'shop');\n"),
    (SECRET, "/opt/app/conn.py", f"import psycopg2\nconn = psycopg2.connect(\"host=db user=app password={W3} dbname=x\")\n"),
    (SECRET, "/opt/app/upload.py", f"ftp = FTP('files.lab.test')\nftp.login(user='anna', passwd='{W1}')\n"),
    (SECRET, "/opt/app/Main.java", f'class Main {{ static final String DB_PASSWD = "{W1}"; }}\n'),
    (SECRET, "/opt/app/main.go", f'package main\n\nconst apiSecret = "{A32}"\n'),
    (SECRET, "/srv/deploy/Jenkinsfile", f"pipeline {{ environment {{ NEXUS_PASS = '{W1}' }} }}\n"),
    (SECRET, "/srv/deploy/.gitlab-ci.yml", f"variables:\n  DEPLOY_PW: {W2}\n"),
    (SECRET, "/srv/deploy/values.yaml", f"postgresql:\n  auth:\n    postgresPassword: {W3}\n"),
    (SECRET, "/srv/deploy/inventory", f"[db]\n10.0.0.5 ansible_user=root ansible_password='{W1}'\n"),
    (SECRET, "/srv/deploy/secret.yaml", f"apiVersion: v1\nkind: Secret\nmetadata:\n  name: db\ndata:\n  value: {b64(W1)}\n"),
    (SECRET, "/srv/deploy/list.yaml", f"env:\n  - name: DB_PASSWORD\n    value: {W1}\n"),
    (SECRET, "/srv/deploy/task.json", json.dumps({"environment": [{"name": "SMTP_PASSWORD", "value": W1}]})),
    (SECRET, "/srv/deploy/vault.yml", "$ANSIBLE_VAULT;1.1;AES256\n" + (HEX64 + "6b1f\n") * 6),
    (SECRET, "/srv/deploy/Containerfile", f"FROM debian:13\nARG NPM_AUTH={A32}\nRUN true\n"),
    # command lines, schedules, histories, units
    (SECRET, "/etc/cron.daily/mirror", f"#!/bin/sh\nlftp -u anna,{W3} sftp://nas.lab.test -e 'mirror /x /y; quit'\n"),
    (SECRET, "/etc/cron.d/ping", f"5 * * * * root wget -q --http-user=anna --http-password={W1} https://x.lab.test/p\n"),
    (SECRET, "/usr/local/bin/db-shell", f"#!/bin/sh\nexec psql \"postgresql://db.lab.test/app?user=app&password={W3}\"\n"),
    (SECRET, "/usr/local/bin/mq", f"#!/bin/sh\nmosquitto_pub -h mq -u app -P {W3} -t x -m y\n"),
    (SECRET, "/usr/local/bin/rdp", f"#!/bin/sh\nxfreerdp /v:win.lab.test /u:anna /p:{W1}\n"),
    (SECRET, "/usr/local/bin/ipmi", f"#!/bin/sh\nipmitool -I lanplus -H 10.0.0.9 -U ADMIN -P {W3} power status\n"),
    (SECRET, "/usr/local/bin/setpw", f"#!/bin/sh\necho 'anna:{W1}' | chpasswd\n"),
    (SECRET, "/usr/local/bin/setpw2", f"#!/bin/bash\necho -e '{W1}\\n{W1}' | passwd anna\n"),
    (SECRET, "/usr/local/bin/hdr", f"#!/bin/sh\ncurl -H \"X-Api-Key: {A24}\" https://x.lab.test\n"),
    (SECRET, "/usr/local/bin/ck", f"#!/bin/sh\ncurl -b 'sessionid={A32}' https://x.lab.test\n"),
    (SECRET, "/usr/local/bin/qs", f"#!/bin/sh\ncurl 'https://x.lab.test/v1/push?channel=ops&key={A24}'\n"),
    (SECRET, "/usr/local/bin/expect-login", f"#!/usr/bin/expect\nspawn ssh anna@10.0.0.4\nexpect \"assword:\"\nsend \"{W1}\\r\"\n"),
    (SECRET, "/usr/local/bin/luks", f"#!/bin/sh\necho -n '{W1}' | cryptsetup open /dev/sdb1 data -\n"),
    (SECRET, "/usr/local/bin/sudo-s", f"#!/bin/sh\necho {W3} | sudo -S systemctl restart x\n"),
    (SECRET, "/usr/local/bin/enc", f"#!/bin/sh\nopenssl enc -aes-256-cbc -k {W1} -in a -out b\n"),
    (SECRET, "/usr/local/bin/gpgd", f"#!/bin/sh\ngpg --batch --passphrase '{W1}' -d x.gpg\n"),
    (SECRET, "/etc/systemd/system/x.service", f'[Service]\nExecStart=/opt/x/run --user app --pw {W1}\n'),
    (SECRET, "/etc/systemd/system/y.service", f'[Service]\nEnvironment="A=b" "REDIS_PW={W1}"\n'),
    (SECRET, "/etc/init.d/agent", f"#!/bin/sh\nDAEMON_ARGS=\"-key {A32} -host x.lab.test\"\n"),
    (SECRET, "/etc/rc.local", f"#!/bin/sh\nmount -t davfs -o username=anna,pass={W1} https://x.lab.test /mnt\n"),
    (SECRET, "/etc/fstab.bak", f"//nas/share /mnt cifs user=anna,pass={W3},vers=3.0 0 0\n"),
    # network services
    (SECRET, "/etc/freeradius/users.local", f'anna Cleartext-Password := "{W1}"\n'),
    (SECRET, "/etc/hostapd.wpa_psk", f"00:00:00:00:00:00 {W1}\n"),
    (SECRET, "/etc/keepalived/k.conf", f"vrrp_instance V {{\n  authentication {{\n    auth_type PASS\n    auth_pass {W3}\n  }}\n}}\n"),
    (SECRET, "/etc/frr/bgp.conf", f"router bgp 65001\n neighbor 10.0.0.1 password {W3}\n"),
    (SECRET, "/etc/strongswan.d/x.secrets", f'anna : EAP "{W1}"\n'),
    (SECRET, "/etc/xl2tpd/x.auth", f"user anna\nhiddenpw {W1}\n"),
    (SECRET, "/etc/haproxy/h.cfg", f"userlist ops\n  user anna insecure-password {W1}\n"),
    (SECRET, "/etc/squid/s.conf", f"cache_peer up.lab.test parent 3128 0 login=anna:{W3}\n"),
    (SECRET, "/etc/nagios/resource.x", f"$USER5$={W1}\n$USER6$={A32}\n"),
    (SECRET, "/etc/bird/b.conf", f'protocol bgp x {{\n  password "{W1}";\n}}\n'),
    (SECRET, "/etc/ldapscripts/ldapscripts.passwd", W1),
    (SECRET, "/etc/corosync/authkey", RANDOM[:256]),
    (SECRET, "/etc/munge/munge.key", RANDOM[:1024]),
    (SECRET, "/etc/app/hmac", RANDOM[:32]),
    (SECRET, "/etc/ocserv/ocpasswd", f"anna:*:$5$abcdefgh${A40}abc\n"),
    (SECRET, "/etc/openvpn/up", f"anna\n{W1}\n"),
    (SECRET, "/etc/monit/conf.d/m", f"set httpd port 2812\n  allow admin:{W1}\n"),
    (SECRET, "/etc/tripleo/otp.txt", "otpauth://totp/Lab:anna?secret=JBSWY3DPEHPK3PXPQ4XV2LM7KA&issuer=Lab\n"),
    (SECRET, "/root/recovery-codes.txt", "1. 4f8k2-9x3mq\n2. 7h2pw-1z8rc\n3. 3m9xt-6q4vb\n4. 8c1nd-2k7js\n"),
    (SECRET, "/root/2fa", "JBSWY3DPEHPK3PXPQ4XV2LM7KA3DPEHP\n"),
    (SECRET, "/root/seed.txt", "abandon ability able about above absent absorb abstract absurd abuse access accident\n"),
    # prose and comments
    (SECRET, "/root/TODO", f"- nas umziehen\n- Passwort vom Router ist {W1}\n"),
    (SECRET, "/home/anna/README.txt", f"Login at https://x.lab.test with user anna and password {W3}\n"),
    (SECRET, "/home/anna/zugang.md", f"| Dienst | Benutzer | Passwort |\n|---|---|---|\n| Router | admin | {W1} |\n"),
    (SECRET, "/etc/motd.d/hint", f"console login: root / {W3}\n"),
    (SECRET, "/etc/app/old.conf", f"host = db\n# password = {W3}\n"),
    (SECRET, "/srv/mail/export.csv", f"service,username,password\nrouter,admin,{W1}\nnas,anna,{W3}\n"),
    (SECRET, "/home/anna/bitwarden.csv", f"folder,name,login_uri,login_username,login_password\n,nas,https://n.lab.test,anna,{W1}\n"),
    # dumps and databases
    (SECRET, "/srv/dump/users.sql", f"INSERT INTO `users` (`id`, `name`, `password`) VALUES (1,'anna','{W1}');\n"),
    (SECRET, "/srv/dump/accounts.sql", f"COPY public.accounts (id, email, pass_hash) FROM stdin;\n1\ta@lab.test\t{HEX40}\n\\.\n"),
    (SECRET, "/srv/dump/m.sql", f"CREATE USER 'x'@'%' IDENTIFIED WITH mysql_native_password AS '*{HEX40.upper()}';\n"),
    (SECRET, "/srv/dump/nightly.sql.gz", gzip.compress(f"INSERT INTO users VALUES (1,'anna','{BCRYPT}');\n".encode())),
    (SECRET, "/srv/dump/nightly.sql.xz", lzma.compress(f"CREATE USER 'x' IDENTIFIED BY '{W1}';\n".encode())),
    (SECRET, "/srv/dump/nightly.sql.bz2", bz2.compress(f"export DB_PASSWORD={W1}\n".encode())),
    (SECRET, "/srv/dump/home.tar.gz", tar_of({"home/anna/.ssh/id_ed25519": OPENSSH.encode()})),
    (SECRET, "/srv/dump/etc.tar", tar_of({"etc/app/x.conf": f"password = {W1}\n".encode()}, "w")),
    (SECRET, "/srv/dump/site.zip", zip_of({"site/.env": f"DB_PASSWORD={W1}\n".encode()})),
    (SECRET, "/srv/dump/etc.cpio", cpio_of("etc/x.key", pem("PRIVATE KEY").encode())),
    (SECRET, "/srv/dump/x.tgz", tar_of({"root/.netrc": f"machine x login y password {W1}\n".encode()})),
    (SECRET, "/var/lib/app/app.db", sqlite_of("CREATE TABLE user (id INTEGER, email TEXT, pwhash TEXT)")),
    (SECRET, "/var/lib/app/tokens.sqlite", sqlite_of("CREATE TABLE oauth (id INTEGER, access_token TEXT)")),
    (SECRET, "/var/lib/app/state.bin", b"\0\1\2\3" + f"api_token={A40}\0\0".encode() + bytes(40)),
    # wrapped and split
    (SECRET, "/etc/app/key.b64", "\n".join(base64.encodebytes(pem("PRIVATE KEY").encode()).decode().split()) + "\n"),
    (SECRET, "/etc/app/tls.yml", f"tls:\n  key: {b64(pem('RSA PRIVATE KEY'))}\n"),
    (SECRET, "/etc/app/utf16.ini", f"[db]\r\npassword={W1}\r\n".encode("utf-16")),
    (SECRET, "/etc/app/utf16le.ini", f"[db]\r\npassword={W1}\r\n".encode("utf-16-le")),
    (SECRET, "/etc/app/split.sh", f"TOKEN=\"{A20}\" \\\n  \"{A20}\"\n"),
    (SECRET, "/etc/app/heredoc.sh", f"cat > /run/x <<E\n[client]\npassword={W1}\nE\n"),
    (SECRET, "/etc/app/block.yml", f"password: >-\n  {W1}\n"),
    (SECRET, "/etc/app/cont.properties", f"db.password=\\\n    {W1}\n"),
    (SECRET, "/etc/app/multi.json", '{\n  "password":\n    "' + W1 + '"\n'),
    (SECRET, "/etc/app/nested.json", json.dumps({"data": json.dumps({"password": W1})})),
    # nothing but something random
    (SECRET, "/etc/app/auth_value", f"{HEX64}\n"),
    (SECRET, "/etc/app/k", f"{A64}\n"),
    (SECRET, "/var/lib/app/value", f"{B64}\n"),
    (SECRET, "/etc/app/opaque.conf", f"upstream = lab\nblob = {A40}\n"),
    (SECRET, "/opt/app/run.sh", f"#!/bin/sh\n/opt/app/bin {A40}\n"),
    (SECRET, "/root/wallet.key", "5Kb8kLf9zgWQnogidDA76MzPL6TsZZY36hWXMssSzNydYXYB9KF\n"),
    # identities
    (IDENTITY, "/etc/app/agent.conf", f"server = x.lab.test\nagent_id = {UUID}\n"),
    (IDENTITY, "/var/lib/app/meta.json", json.dumps({"nodeId": UUID})),
    (IDENTITY, "/var/lib/consul/node-id", UUID),
    (IDENTITY, "/var/lib/app/machineid", HEX32),
    (IDENTITY, "/etc/app/uuid.conf", f"INSTALLATION_UUID={UUID}\n"),
    (IDENTITY, "/var/lib/systemd/network/x", "ADDRESS=10.0.0.4\n"),
    (IDENTITY, "/etc/salt/minion_id", "build-7.lab.test\n"),
    (IDENTITY, "/etc/salt/grains", "server_id: 123456789\n"),
    (IDENTITY, "/etc/NetworkManager/conf.d/mac.conf", "[device]\nmatch-device=mac:52:54:00:aa:bb:cc\n"),
    (IDENTITY, "/etc/dhcp/dhclient6.duid", "default-duid \"\\000\\001\\000\\001*\\333\";\n"),
    (IDENTITY, "/var/lib/dhcp6c/dhcp6c_duid", RANDOM[:16]),
    (IDENTITY, "/var/lib/ntp/ntp.drift", "-12.345\n"),
    (IDENTITY, "/etc/postfix/main.cf.bak", "myhostname = build7.lab.test\nmydestination = $myhostname, build7.lab.test\n"),
    (IDENTITY, "/var/lib/snmp/snmpd.conf.old", "oldEngineID 0x80001f88803f1c9a2e\nusmUser 1 3 0x80001f88803f1c9a2e \"a\" \"a\" NULL .1.3 0x4bd19a7c03fe5286b1c97d20e8f4a35b\n"),
    (IDENTITY, "/var/lib/upower/history-charge-X-55-1234.dat", "1700000000\t99.000\tdischarging\n"),
    (IDENTITY, "/etc/ssh/keys/host_rsa", OPENSSH),
    (IDENTITY, "/var/lib/k8s/peer-id", f"{A40}\n"),
    (IDENTITY, "/root/.config/app/telemetry.json", json.dumps({"anonymousId": UUID})),
    (IDENTITY, "/etc/multipath/wwids", "/360000000000000000e00000000010001/\n"),
    (IDENTITY, "/etc/lvm/devices/system.devices", "IDTYPE=sys_serial IDNAME=ABC DEVNAME=/dev/sda PVID=abc\n"),
    # traces
    (TRACE, "/root/.local/share/recently-used.xbel", "<xbel/>\n"),
    (TRACE, "/root/.wget-hsts", "x\n"),
    (TRACE, "/home/anna/.irb-history", "x\n"),
    (TRACE, "/root/typescript", "Script started on 2024-01-01 10:00:00+00:00\n$ ls\n"),
    (TRACE, "/etc/nginx/nginx.conf.save", "events {}\n"),
    (TRACE, "/etc/nginx/.nginx.conf.swo", b"b0VIM 9.0" + bytes(80)),
    (TRACE, "/etc/app/#x.conf#", "a = b\n"),
    (TRACE, "/opt/app/logs/app.log", "2024-01-01 10:00:00 INFO started on 10.0.0.4\n"),
    (TRACE, "/srv/app/error.log.1", "2024-01-01 10:00:00 ERROR x\n"),
    (TRACE, "/opt/app/hs_err_pid123.log", "# A fatal error has been detected by the Java Runtime Environment\n"),
    (TRACE, "/opt/app/heap.hprof", b"JAVA PROFILE 1.0.2\0" + bytes(50)),
    (TRACE, "/var/lib/app/core.1234", b"\x7fELF\2\1\1\0" + bytes(8) + b"\4\0\x3e\0" + bytes(80)),
    (TRACE, "/root/strace.out", "execve(\"/bin/ls\", [\"ls\"], 0x7ffd /* 20 vars */) = 0\nbrk(NULL) = 0x5\n"),
    (TRACE, "/var/spool/cups/c00001", b"x"),
    (TRACE, "/home/anna/.tmux/resurrect/last", "pane\t0\t1\n"),
    (TRACE, "/home/anna/.xsession-errors", "x\n"),
    (TRACE, "/home/anna/.ICEauthority", b"\0\3ICE\0\0"),
    (TRACE, "/home/anna/.local/share/Trash/files/x", "x\n"),
    (TRACE, "/root/.gdb_history", "x\n"),
    (TRACE, "/var/www/.bash_history", "x\n"),
)  # fmt: skip
