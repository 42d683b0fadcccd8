"""Sixty more innocents: what configuration, documentation and programs are full of and what is no secret of anybody."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json

PUBLIC = base64.b64encode(hashlib.shake_128(b"a public key").digest(270)).decode()
SUMS = [hashlib.sha256(bytes([number])).hexdigest() for number in range(40)]
CERT = (
    "-----BEGIN CERTIFICATE-----\n"
    + "\n".join(PUBLIC[at : at + 64] for at in range(0, 360, 64))
    + "\n-----END CERTIFICATE-----\n"
)
UUID = "8c2f6b1e-40d7-4f3a-b1c9-5e7a9d036f24"

INNOCENTS: dict[str, str | bytes] = {
    # web and mail servers, the system
    "/etc/nginx/sites-available/app": "server {\n  listen 443 ssl;\n  ssl_certificate_key /etc/ssl/private/app.key;\n  auth_basic_user_file "
    "/etc/nginx/htpasswd;\n  proxy_pass http://127.0.0.1:8080;\n  proxy_set_header Authorization $http_authorization;\n  limit_req "
    "zone=login burst=20;\n  add_header Set-Cookie 'x=$cookie_sid; Secure';\n}\n",
    "/etc/nginx/snippets/tls.conf": "ssl_ciphers ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES256-GCM-SHA384;\nssl_session_tickets off;\n"
    "ssl_session_cache shared:MozSSL:10m;\nssl_session_timeout 1d;\n",
    "/etc/apache2/conf-enabled/auth.conf": "<Location /x>\n  AuthType Basic\n  AuthName \"private area\"\n  AuthUserFile /etc/apache2/users\n"
    "  Require valid-user\n</Location>\nSSLOpenSSLConfCmd DHParameters /etc/ssl/dh.pem\n",
    "/etc/php/8.4/fpm/conf.d/99-own.ini": "session.name = PHPSESSID\nsession.cookie_httponly = 1\nsession.cookie_secure = On\nsession.gc_maxlifetime = "
    "1440\nsession.sid_length = 32\nsession.hash_function = sha256\nmysqli.default_pw =\nmysqli.allow_local_infile = Off\nldap.max_links = -1\n",
    "/etc/ssh/sshd_config.d/20-own.conf": "PasswordAuthentication no\nPubkeyAuthentication yes\nAuthenticationMethods publickey\nPermitRootLogin "
    "prohibit-password\nHostKey /etc/ssh/ssh_host_ed25519_key\nKexAlgorithms sntrup761x25519-sha512@openssh.com,curve25519-sha256\n"
    "MACs hmac-sha2-512-etm@openssh.com\nMaxAuthTries 3\nLoginGraceTime 20\nAuthorizedKeysFile .ssh/authorized_keys\n",
    "/etc/sysctl.d/90-own.conf": "kernel.keys.maxkeys = 2000\nkernel.kptr_restrict = 2\nnet.ipv4.tcp_fastopen_key = 00000000-00000000-00000000-00000000\n"
    "net.core.rmem_max = 16777216\nkernel.randomize_va_space = 2\n",
    "/etc/postfix/main.own.cf": "smtpd_sasl_auth_enable = yes\nsmtp_sasl_password_maps = hash:/etc/postfix/relay\nsmtp_tls_key_file = /etc/ssl/x.key\n"
    "smtpd_tls_session_cache_database = btree:${data_directory}/smtpd_scache\nsmtp_sasl_security_options = noanonymous\nmyhostname = localhost\n",
    "/etc/dovecot/conf.d/99-own.conf": "auth_mechanisms = plain login\npassdb {\n  driver = pam\n}\nssl_key = </etc/ssl/private/dovecot.pem\n"
    "auth_cache_ttl = 1 hour\ndefault_pass_scheme = SHA512-CRYPT\nauth_verbose_passwords = sha1:6\n",
    "/etc/pam.d/own": "auth required pam_unix.so try_first_pass nullok\npassword requisite pam_pwquality.so minlen=12 retry=3\n"
    "password [success=1 default=ignore] pam_unix.so obscure use_authtok yescrypt\nsession optional pam_keyinit.so force revoke\n",
    "/etc/security/pwquality.conf.d/own.conf": "minlen = 12\ndcredit = -1\nusercheck = 1\nenforce_for_root\ndictpath = /usr/share/dict\n",
    "/etc/sssd/conf.d/own.conf": "[domain/x]\nldap_default_authtok_type = obfuscated_password\ncache_credentials = true\nkrb5_store_password_if_offline = "
    "True\npwd_expiration_warning = 7\naccess_provider = ldap\n",
    "/etc/krb5.conf.d/own": "[libdefaults]\n default_realm = LAB.TEST\n default_keytab_name = FILE:/etc/krb5.keytab\n ticket_lifetime = 24h\n"
    " permitted_enctypes = aes256-cts-hmac-sha1-96 aes128-cts-hmac-sha256-128\n",
    "/etc/sudoers.d/own": 'Defaults passprompt="[sudo] password for %p: "\nDefaults badpass_message="Wrong password."\nDefaults passwd_tries=3\n',
    "/etc/logrotate.d/own": "/var/log/own/*.log {\n  weekly\n  rotate 4\n  create 0640 root adm\n  postrotate\n    systemctl kill -s HUP own.service\n"
    "  endscript\n}\n",
    "/etc/systemd/system/own.service": "[Service]\nEnvironmentFile=-/etc/own/env\nLoadCredential=token:/etc/own/token\nImportCredential=own.*\n"
    "ExecStart=/usr/local/bin/own --password-file %d/token --config /etc/own.conf --max-tokens 512 -p 8080\n",
    "/etc/systemd/system/backup.timer": "[Timer]\nOnCalendar=*-*-* 03:17:00\nRandomizedDelaySec=30m\nPersistent=true\n",
    "/etc/udev/rules.d/80-own.rules": 'SUBSYSTEM=="usb", ATTR{idVendor}=="1050", ATTR{idProduct}=="0407", GROUP="plugdev", ENV{ID_SECURITY_TOKEN}="1"\n',
    "/etc/fstab.d-note": f"UUID={UUID} / ext4 errors=remount-ro 0 1\nPARTUUID={UUID} /boot/efi vfat umask=0077 0 1\n",
    "/etc/default/own": 'DAEMON_ARGS="--listen 127.0.0.1:9100 --auth-type none --secret-dir /run/own"\nSTART=yes\nUMASK=027\n',
    "/etc/apt/sources.list.d/own.sources": "Types: deb\nURIs: https://deb.debian.org/debian\nSuites: trixie\nComponents: main\nSigned-By:\n"
    " -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBGPL0BUBEADmW5NdOOHwPIJlgPu6JDcKw/NZJPR8lsD3K87ZM18gzyQZJD+w\n =xC1a\n -----END PGP PUBLIC KEY BLOCK-----\n",
    "/etc/ssl/own/fullchain.pem": CERT * 3,
    "/etc/ssl/own/site.csr": CERT.replace("CERTIFICATE", "CERTIFICATE REQUEST"),
    "/etc/bind/zones/db.lab": f'$TTL 3600\n@ IN SOA ns1 hostmaster ( 2026112901 7200 3600 1209600 3600 )\nmail._domainkey IN TXT "v=DKIM1; k=rsa; p={PUBLIC}"\n'
    f"_25._tcp.mx IN TLSA 3 1 1 {SUMS[0]}\n@ IN DNSKEY 257 3 13 {PUBLIC[:86]}==\n",
    "/etc/cron.d/own": "MAILTO=root\n17 3 * * * root test -x /usr/local/bin/own && /usr/local/bin/own --token-file /etc/own/t -p 22 -k /etc/ssl/x.pem\n",
    "/etc/snmp/snmp.own.conf": "mibs +ALL\ndefVersion 3\ndefSecurityLevel authPriv\ndefAuthType SHA\n# rocommunity public\n",
    "/etc/haproxy/own.cfg": "frontend x\n  bind :443 ssl crt /etc/ssl/x.pem\n  http-request auth realm ops unless { http_auth(users) }\n  stick-table type string len "
    "64 size 100k expire 30m\n  cookie SRV insert indirect nocache\n",
    "/etc/prometheus/own.yml": "scrape_configs:\n  - job_name: node\n    bearer_token_file: /run/secrets/token\n    basic_auth:\n      username: ops\n"
    "      password_file: /run/secrets/pw\n    static_configs:\n      - targets: ['localhost:9100']\n",
    # samples and templates
    "/opt/app/.env.example": "APP_KEY=\nDB_PASSWORD=secret\nJWT_SECRET=your-256-bit-secret\nMAIL_PASSWORD=null\n",
    "/opt/app/.env.blank": "APP_KEY=\nDB_PASSWORD=\nJWT_SECRET=<generate me>\nMAIL_PASSWORD=changeme\nAPI_TOKEN=your-token-here\n",
    "/opt/app/docker-compose.yml": "services:\n  db:\n    image: mariadb@sha256:" + SUMS[1] + "\n    environment:\n      MYSQL_ROOT_PASSWORD: ${MYSQL_ROOT_PASSWORD:?}\n"
    "      MYSQL_PASSWORD_FILE: /run/secrets/db\n    secrets: [db]\nsecrets:\n  db:\n    file: ./db.txt\n",
    "/opt/app/helm/values.yaml": 'auth:\n  existingSecret: ""\n  secretKey: ""\n  passwordKey: db-password\nimagePullSecrets: []\nserviceAccountToken: {automount: false}\n',
    "/opt/app/role.yml": "- name: set the password\n  ansible.builtin.user:\n    name: x\n    password: \"{{ user_password | password_hash('sha512') }}\"\n"
    "  no_log: true\n- command: htpasswd -b {{ f }} {{ u }} {{ p }}\n",
    "/opt/app/main.tf": 'variable "db_password" {\n  type      = string\n  sensitive = true\n}\nresource "x" "y" {\n  password = var.db_password\n  token = data.vault.t.value\n}\n',
    "/opt/app/k8s.yaml": "env:\n  - name: DB_PASSWORD\n    valueFrom:\n      secretKeyRef:\n        name: db\n        key: password\n",
    "/opt/app/config.sample.php": "<?php\n$db_password = 'PutYourPassw0rdHere1!';\n",
    "/opt/app/settings.py": "import os\nSECRET_KEY = os.environ['SECRET_KEY']\nPASSWORD_HASHERS = ['django.contrib.auth.hashers.Argon2PasswordHasher']\n"
    "AUTH_PASSWORD_VALIDATORS = [{'NAME': 'x.MinimumLengthValidator'}]\nSESSION_COOKIE_NAME = 'sessionid'\n",
    "/opt/app/login.js": "const token = req.headers['x-auth-token'];\nif (!password || password.length < 8) throw new Error('Password too short');\n"
    "form.querySelector('#password').value = '';\nconst KEY_CODES = {enter: 13, escape: 27};\n",
    "/opt/app/auth.php": "<?php\n$password = password_hash($_POST['password'], PASSWORD_DEFAULT);\n$token = bin2hex(random_bytes(32));\n$key = 'user.name';\n",
    "/opt/app/Auth.java": "class Auth { private String password; static final String PARAM_PASSWORD = \"password\"; String tokenType = \"Bearer\"; }\n",
    "/opt/app/auth.go": 'package x\n\nconst headerAuthorization = "Authorization"\n\ntype User struct {\n\tPassword string `json:"password" db:"password_hash"`\n}\n',
    "/opt/app/entry.sh": "#!/bin/sh\nset -e\n: \"${DB_PASSWORD:?must be set}\"\npassword=$(cat /run/secrets/db)\nread -r -s -p 'Password: ' pw\nmkdir -p /var/lib/app\n"
    "curl -fsS -H \"Authorization: Bearer $TOKEN\" https://x.lab.test/\nmysql -u root -p\"$password\" -e 'select 1'\nssh -p 22 -i /root/.ssh/id x true\n",
    "/opt/app/schema.sql": "CREATE TABLE users (\n  id INT PRIMARY KEY,\n  email VARCHAR(255),\n  password VARCHAR(255) NOT NULL,\n  token CHAR(64) DEFAULT NULL\n);\n"
    "ALTER TABLE users ADD COLUMN secret_key VARCHAR(64);\n",
    "/opt/app/openapi.yaml": "components:\n  securitySchemes:\n    apiKey:\n      type: apiKey\n      in: header\n      name: X-Api-Key\n  schemas:\n    Login:\n"
    "      properties:\n        password:\n          type: string\n          format: password\n          minLength: 8\n",
    # lock files, lists, pages
    "/opt/app/package-lock.json": json.dumps({"packages": {"node_modules/js-tokens": {"version": "4.0.0", "integrity": "sha512-" + PUBLIC[:86] + "=="}}}),
    "/opt/app/Cargo.lock": f'[[package]]\nname = "secrecy"\nversion = "0.10.3"\nchecksum = "{SUMS[2]}"\n',
    "/opt/app/requirements.txt": f"itsdangerous==2.2.0 \\\n    --hash=sha256:{SUMS[3]} \\\n    --hash=sha256:{SUMS[4]}\n",
    "/opt/app/yarn.lock": f'"token-types@^6.0.0":\n  version "6.0.0"\n  resolved "https://registry.yarnpkg.com/token-types/-/token-types-6.0.0.tgz#{SUMS[5][:40]}"\n'
    f"  integrity sha512-{PUBLIC[:86]}==\n",
    "/opt/app/go.sum": f"github.com/golang-jwt/jwt/v5 v5.2.1 h1:{PUBLIC[:43]}=\n",
    "/opt/app/SHA256SUMS": "".join(f"{one}  file-{number}.tar.gz\n" for number, one in enumerate(SUMS)),
    "/opt/app/.git/packed-refs": "# pack-refs with: peeled fully-peeled sorted \n" + "".join(f"{one[:40]} refs/tags/v1.{n}\n" for n, one in enumerate(SUMS)),
    "/opt/app/VERSION": f"version=2.4.1\ncommit={SUMS[6][:40]}\nbuilt=2026-11-29T10:00:00Z\n",
    "/opt/app/style.css": ".password-field::placeholder{color:#9ca3af}.token{background:url(data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJ)}\n",
    "/opt/app/app.min.js": "!function(e,t){e.password=t.token||null,e.auth={key:\"x\",type:\"Bearer\"}}(window,{});" * 40,
    "/opt/app/index.html": '<form><label for="password">Password</label><input type="password" name="password" autocomplete="current-password">'
    '<script src="a.js" integrity="sha384-' + PUBLIC[:64] + '" crossorigin></script></form>\n',
    "/opt/app/locale/de.json": json.dumps({"password": "Passwort", "change_password": "Passwort ändern", "token": "Zugangsschlüssel", "secret": "Geheimnis"}),
    "/opt/app/lang/strings.ini": 'password = "Ihr Kennwort"\npassword_confirm = "Kennwort wiederholen"\nlogin_failed = "Anmeldung fehlgeschlagen"\n',
    "/opt/app/README.md": "# App\n\nSet `DB_PASSWORD` to a strong password. The default password is `changeme`.\n\n    export API_TOKEN=<your token>\n"
    "    curl -u user:password https://example.com/\n",
    "/home/anna/notes.txt": "Remember to change the password of the router next week. Keys are in the safe.\nToken bucket: 20 per second, burst 100.\n",
    "/usr/local/share/man/man5/own.5": '.TH own 5\n.SH OPTIONS\n.TP\n.BR password " (string)"\nThe password for the server. Default: none.\n',
    "/opt/app/LICENSE": "Permission is hereby granted, free of charge, to any person obtaining a copy, without the authorization of the keyholder.\n",
    "/opt/app/words.csv": "key,de,fr\npassword,Passwort,mot de passe\ntoken,Zeichen,jeton\n",
    "/srv/pub/docs.tar.note.gz": gzip.compress(b"password: see the manual\n"),
    "/opt/app/trust/roots.crt": CERT * 5,
    "/root/.ssh/id_ed25519.pub.note": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPuyMd1nG8vWq3kTz5Lr0bXcHsJfYeUoAi7Nm2Rd9Qx4 anna@laptop\n",
    # what was refused by the rules before
    "/opt/web/package-lock.json":'{"a":{"integrity":"sha512-q7Xv2Lm9Ka4Zr8Tn3Wd6Yp5cBe1Hs0UgVb4Gx9Sw7Pd1Ea6Cj3Lf8Hq5Ok2Iu0Rtq7Xv2Lm9Ka4Zr8Tn3W6=="}}',
    "/srv/ci/Jenkinsfile":"pipeline {\n environment { NEXUS = credentials('nexus-deploy')\n TOKEN = credentials('token1Abc') }\n}\n",
    "/usr/local/bin/genpw":"#!/bin/sh\npw=`openssl rand -base64 12`\nPASS=$(pwgen -s 20 1)\nPASSWORD=\"$(tr -dc 'A-Za-z0-9!@#%' </dev/urandom | head -c 24)\"\n: \"${SECRET:=$(openssl rand -hex 32)}\"\n",
    "/etc/fail2ban/filter.d/own.local":"[Definition]\nfailregex = ^%(__prefix_line)sauthentication failed: password=\\S+ from <HOST>$\n",
    "/etc/logcheck/ignore.d.server/own":"^\\w{3} [ :0-9]{11} [._[:alnum:]-]+ sshd\\[[0-9]+\\]: Failed password for [^ ]+ from [:0-9.]+$\n",
    "/opt/app/api.yaml":"openapi: 3.0.3\npaths:\n  /login:\n    example:\n      password: Sommer2024!\n",
    "/opt/app/common-passwords.txt":"123456\npassword\nQwerty123!\nletmein1\n",
    "/etc/app/jwks.json":'{"keys":[{"kty":"RSA","kid":"q7Xv2Lm9Ka4Zr8Tn3Wd6Yp5c","n":"q7Xv2Lm9Ka4Zr8Tn3Wd6Yp5cBe1Hs0UgVb4Gx9Sw7Pd1Ea6Cj3Lf8Hq5Ok2Iu0Rt","e":"AQAB"}]}',
    "/opt/app/ct.json":'{"logs":[{"description":"x","key":"MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE0JCPZFJOQqyEti5M8j13ALN3CAVHqkVM4yyOcKWCu2yye5yYeqDpEXYoALIgtM3TmHtNlifmt+4iatGwLpF3eA==","log_id":"7s3QZNXbGs7FXLedtM0TojKHRny87N7DUUhZRnEftZs=","mmd":86400}]}',
    "/usr/local/share/doc/x/tokens.md":"A token looks like ghp_q7Xv2Lm9Ka4Zr8Tn3Wd6Yp5cBe1Hs0UgabcD and $2b$12$eImiTXuWVxfM37uY4JANjQJ8mXl1sQkz0v3wT5yR7uB9nC2dE4fGh\n",
    "/etc/cloud/cloud.cfg.d/10_own.cfg":"#cloud-config\ndatasource_list: [NoCloud, None]\nssh_pwauth: false\nchpasswd:\n  expire: false\n",
    "/opt/app/.github/workflows/ci.yml":"env:\n  NPM_TOKEN: ${{ secrets.NPM_TOKEN }}\nsteps:\n  - run: curl -H 'Authorization: Bearer ${{ secrets.T }}' https://x\n    with: {password: \"${{ secrets.P }}\", token: '${{ github.token }}'}\n",
    "/opt/app/x.pkr.hcl":'variable "token" {\n  type = string\n  default = env("HCLOUD_TOKEN")\n  sensitive = true\n}\n',
    "/usr/share/bash-completion/completions/own":"complete -W '--password --token=Abc123xyZ' own\n","/opt/app/_own":"#compdef own\n_arguments '--password[set it]:password:' \n",
    "/etc/skel/.bashrc":"HISTCONTROL=ignoreboth\nalias ll='ls -l'\n", "/etc/app/tls.txt":"X509v3 Subject Key Identifier: 1A:2B:3C:4D:5E:6F:70:81:92:A3:B4:C5:D6:E7:F8:09:10:11:12:13\n",
}  # fmt: skip
