"""What builds and people leave on a machine, in the files of the programs that keep it: written down before any rule was read.

Each line is a kind, a path and what stands there. The values are made up; the shapes are those of the programs. What was found of
it at first, and what after the rules were mended, stands in packer/README.md.
"""

from __future__ import annotations

import struct

P1, P2, P3, P4 = "Rosenholz-19!", "tr4vel.Lamp", "vM8xWq2LkTz", "b0uncy&castle77"
HEX32, HEX40 = "4bd19a7c03fe5286b1c97d20e8f4a35b", "8f1c0b6e2d97a4435ea0cc71d8239bf65412e07d"
HEX64 = "c41b9e07d25fa836e0947ab3185dcf62907e4bd1a3f5286cb8e01d7f4a92c356"
A20, A24 = "q7Xv2Lm9Ka4Zr8Tn3Wd6", "q7Xv2Lm9Ka4Zr8Tn3Wd6Yp5c"
A32 = "q7Xv2Lm9Ka4Zr8Tn3Wd6Yp5cBe1Hs0Ug"
A40 = A32 + "Jf8Qo3Ri"
A48 = A40 + "Nz6My2Tk"
A64 = A32 + "Vb4Gx9Sw7Pd1Ea6Cj3Lf8Hq5Ok2Iu0Rt"
B64 = "q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA="
B64L = B64[:-1] * 6
SHA512 = "$6$rounds=656000$kV3Jq.pXm1$" + "Ab1./" * 17 + "x"
YESC = "$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC.5i5rd.RhAtQ7"
BCRYPT = "$2b$12$eImiTXuWVxfM37uY4JANjQ" + "J8mXl1sQkz0v3wT5yR7uB9nC2dE4fGh"
JWT = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJib3QiLCJpYXQiOjE3MDAwMDAwMDB9.4Zt1m0Q2xWq7JkR9Lb3VnT5cYp8sHd6Fg0aEuXiMo1k"
)
KEY = "\n".join("MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQDJ3kq8u1Yt0n7W" for _ in range(6))
OPENSSH = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAMwAAAAtzc2gtZWQ\n" * 1
OPENSSH += "yNTUxOQAAACBz5rYyQm1xk7o0dJ3V2h1o\n-----END OPENSSH PRIVATE KEY-----\n"


def pem(word: str) -> str:
    return f"-----BEGIN {word}-----\n{KEY}\n-----END {word}-----\n"


SECRET, IDENTITY, TRACE = "secret", "identity", "trace"
KEYTAB = b"\x05\x02" + struct.pack(">iHH", 60, 1, 8) + b"LAB.TEST" + struct.pack(">H", 4) + b"host" + bytes(range(1, 45))
TDB = (
    b"TDB file\n"
    + bytes(23)
    + struct.pack("<II", 0x26011999, 10000)
    + bytes(64)
    + b"SECRETS/MACHINE_PASSWORD/LAB\0"
    + A32.encode()
    + bytes(99)
)
JKS = b"\xfe\xed\xfe\xed\0\0\0\2\0\0\0\1\0\0\0\1\0\4root" + bytes(range(200))
SQLITE = b"SQLite format 3\0" + bytes(84)
GPGKEY = (
    b"(21:protected-private-key(3:rsa(1:n257:\0"
    + bytes(range(256))
    + b")(1:e3:\1\0\1)(9:protected25:openpgp-s2k3-ocb-aes"
    + bytes(40)
    + b")))"
)
UTMP = struct.pack("<hxxi32s4s32s256s", 7, 812, b"pts/0", b"ts/0", b"anna", b"198.51.100.7") + bytes(52)

BLIND: tuple[tuple[str, str, str | bytes], ...] = (
    # tools that build and run infrastructure
    (SECRET, "/root/infra/terraform.tfstate", '{"version": 4, "terraform_version": "1.7.5", "resources": [{"type": "random_password", "instances": [{"attributes": {"length": 20, "result": "' + P3 + '", "special": true}}]}]}\n'),
    (SECRET, "/srv/infra/prod/terraform.tfstate.backup", '{\n  "outputs": {\n    "db_url": {\n      "value": "postgres://app:' + P3 + '@10.1.0.5/app",\n      "sensitive": true\n    }\n  }\n}\n'),
    (SECRET, "/root/infra/prod.auto.tfvars", f'region = "eu-central"\nhcloud_token = "{A64}"\ndb_password = "{P1}"\n'),
    (SECRET, "/root/.terraformrc", f'credentials "app.terraform.io" {{\n  token = "{A20[:14]}.atlasv1.{A64}"\n}}\n'),
    (SECRET, "/home/anna/.terraform.d/credentials.tfrc.json", f'{{"credentials": {{"app.terraform.io": {{"token": "{A20[:14]}.atlasv1.{A64}"}}}}}}\n'),
    (SECRET, "/home/anna/.pulumi/credentials.json", f'{{"current": "https://api.pulumi.com", "accessTokens": {{"https://api.pulumi.com": "pul-{HEX40}"}}}}\n'),
    (SECRET, "/etc/kubernetes/bootstrap-kubelet.conf", "apiVersion: v1\nkind: Config\nusers:\n- name: tls-bootstrap-token-user\n  user:\n    token: 07401b.f395accd246ae52d\n"),
    (SECRET, "/var/lib/rancher/k3s/server/node-token", f"K10{HEX64}::server:{HEX32}\n"),
    (SECRET, "/etc/rancher/rke2/config.yaml", f"server: https://10.0.0.1:9345\ntoken: {A32}\ntls-san:\n  - k8s.lab.test\n"),
    (SECRET, "/var/lib/kubelet/pki/kubelet-client-current.pem", pem("CERTIFICATE") + pem("EC PRIVATE KEY")),
    (SECRET, "/etc/vault.d/unseal.txt", f"Unseal Key 1: {B64}\nUnseal Key 2: {B64}\n\nInitial Root Token: s.{A24}\n"),
    (SECRET, "/etc/consul.d/consul.hcl", f'datacenter = "dc1"\nencrypt = "{B64}"\nacl {{\n  tokens {{\n    agent = "3f1c9a2e-77b0-4c1d-9e85-2a6d40b7c813"\n  }}\n}}\n'),
    (SECRET, "/etc/nomad.d/nomad.hcl", f'server {{\n  enabled = true\n  encrypt = "{B64}"\n}}\nvault {{\n  token = "hvs.{A24}"\n}}\n'),
    (SECRET, "/root/.ansible_vault_pass", f"{P1}\n"),
    (SECRET, "/srv/ansible/.vault_pass.txt", f"{P4}\n"),
    (SECRET, "/srv/ansible/host_vars/mx1.yml", f"ansible_user: root\nansible_become_pass: {P2}\n"),
    (SECRET, "/srv/ansible/inventory.ini", f"[mx]\n10.0.0.5 ansible_user=root ansible_ssh_pass={P2}\n"),
    (SECRET, "/etc/puppetlabs/puppet/eyaml/keys/private_key.pkcs7.pem", pem("RSA PRIVATE KEY")),
    (SECRET, "/etc/chef/client.pem", pem("RSA PRIVATE KEY")),
    (SECRET, "/etc/chef/encrypted_data_bag_secret", f"{B64L}\n"),
    (SECRET, "/opt/actions-runner/.credentials_rsaparams", f'{{"d":"{B64L}","dp":"{B64}","exponent":"AQAB","modulus":"{B64L}","p":"{B64}"}}\n'),
    (SECRET, "/opt/actions-runner/.credentials", '{"scheme": "OAuth", "data": {"clientId": "1b0c9a2e-77b0-4c1d-9e85-2a6d40b7c813", "authorizationUrl": "https://vstoken.actions.lab.test/_apis/oauth2/token/abc", "requireFipsCryptography": "True"}}\n'),
    (SECRET, "/var/lib/jenkins/credentials.xml", "<?xml version='1.1' encoding='UTF-8'?>\n<list><com.cloudbees.plugins.credentials.impl.UsernamePasswordCredentialsImpl>\n<username>ci</username>\n<password>{AQAAABAAAAAQ" + B64 + "}</password>\n</com.cloudbees.plugins.credentials.impl.UsernamePasswordCredentialsImpl></list>\n"),
    (SECRET, "/etc/woodpecker/agent.env", f"WOODPECKER_SERVER=ci.lab.test:9000\nWOODPECKER_AGENT_SECRET={HEX64}\n"),
    (SECRET, "/etc/drone.env", f"DRONE_GITEA_CLIENT_SECRET={A40}\nDRONE_RPC_SECRET={HEX32}\n"),
    (SECRET, "/etc/buildkite-agent/buildkite-agent.cfg", f'name="%hostname-%spawn"\ntoken="{HEX40}a1"\nbuild-path="/var/lib/buildkite-agent/builds"\n'),
    (SECRET, "/home/anna/.argocd/config", f"contexts:\n- name: argo.lab.test\nusers:\n- name: argo.lab.test\n  auth-token: {JWT}\n"),
    (SECRET, "/root/.config/helm/registry/config.json", '{"auths": {"ghcr.io": {"auth": "Y2k6Z2hwX3E3WHYyTG05S2E0WnI4VG4zV2Q2WXA1Y0Jl"}}}\n'),
    (SECRET, "/run-once/sops/age/keys.txt", "# created: 2024-03-01T10:00:00Z\n# public key: age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kudxyzspqqx7yz0\nAGE-SECRET-KEY-1QYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQSZQGPQYQS0ABCDE\n"),
    # clouds
    (SECRET, "/root/.aws/credentials", f"[default]\naws_access_key_id = AKIAQ7XV2LM9KA4ZR8TN\naws_secret_access_key = {A40}\n"),
    (SECRET, "/home/anna/.aws/sso/cache/0f1e2d3c4b5a69788796a5b4c3d2e1f000112233.json", f'{{"startUrl": "https://lab.awsapps.com/start", "accessToken": "aoaAAAAAG{A64}", "expiresAt": "2024-05-01T10:00:00Z"}}\n'),
    (SECRET, "/home/anna/.azure/msal_token_cache.json", f'{{"AccessToken": {{"x": {{"credential_type": "AccessToken", "secret": "{JWT}"}}}}, "RefreshToken": {{"y": {{"secret": "0.AXoA{A64}"}}}}}}\n'),
    (SECRET, "/opt/app/sa.json", '{"type": "service_account", "project_id": "lab", "private_key_id": "' + HEX40 + '", "private_key": "-----BEGIN PRIVATE KEY-----\\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcw\\n-----END PRIVATE KEY-----\\n"}\n'),
    (SECRET, "/root/.config/doctl/config.yaml", f"access-token: dop_v1_{HEX64}\noutput: text\n"),
    (SECRET, "/root/openrc.sh", f"export OS_AUTH_URL=https://auth.cloud.test/v3\nexport OS_USERNAME=anna\nexport OS_PASSWORD='{P4}'\n"),
    (SECRET, "/etc/openstack/clouds.yaml", f"clouds:\n  lab:\n    auth:\n      auth_url: https://auth.cloud.test/v3\n      username: anna\n      password: {P1}\n"),
    (SECRET, "/etc/ovh.conf", f"[default]\nendpoint=ovh-eu\n[ovh-eu]\napplication_key={A20[:16]}\napplication_secret={A32}\nconsumer_key={A32}\n"),
    (SECRET, "/root/.secrets/certbot/hetzner.ini", f"dns_hetzner_api_token = {A32}\n"),
    (SECRET, "/etc/lego/env", f"DNSIMPLE_OAUTH_TOKEN={A32}\nLEGO_PATH=/var/lib/lego\n"),
    (SECRET, "/etc/step-ca/password.txt", f"{A32}\n"),
    (SECRET, "/root/.step/secrets/intermediate_ca_key", "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,7f1ec3\n\n" + KEY + "\n-----END EC PRIVATE KEY-----\n"),
    (IDENTITY, "/etc/letsencrypt/accounts/acme-v02.api.letsencrypt.org/directory/1f2e3d/private_key.json", f'{{"n": "{B64L}", "e": "AQAB", "d": "{B64L}", "p": "{B64}", "q": "{B64}", "kty": "RSA"}}\n'),
    (SECRET, "/var/lib/caddy/.local/share/caddy/acme/acme-v02.api.letsencrypt.org-directory/users/default/default.key", pem("EC PRIVATE KEY")),
    (SECRET, "/etc/traefik/acme.json", f'{{"le": {{"Account": {{"Email": "x@lab.test", "PrivateKey": "{B64L}", "KeyType": "4096"}}, "Certificates": null}}}}\n'),
    # tokens in odd files
    (SECRET, "/opt/app/notes.txt", f"stripe live: sk_live_51{A48}\n"),
    (SECRET, "/root/slack.sh", f"#!/bin/sh\ncurl -s -H 'Authorization: Bearer xoxb-812345678901-8123456789012-{A24}' https://slack.com/api/chat.postMessage\n"),
    (SECRET, "/usr/local/bin/notify", f"#!/bin/sh\ncurl -d \"text=$1\" https://hooks.slack.com/services/T02AB3CD4/B05EF6GH7/{A24}\n"),
    (SECRET, "/usr/local/bin/alert.py", f"import requests\nrequests.post('https://discord.com/api/webhooks/1098765432109876543/{A64}', json={{'content': 'x'}})\n"),
    (SECRET, "/opt/bot/telegram.ini", f"[bot]\nid = 6123456789:AAF{A32}\n"),
    (SECRET, "/opt/chat/settings.py", f"OPENAI = 'sk-proj-{A48}'\nDEBUG = False\n"),
    (SECRET, "/opt/chat/anthropic", f"sk-ant-api03-{A64}-{A24}AA\n"),
    (SECRET, "/home/anna/.cache/huggingface/token", f"hf_{A32}ab"),
    (SECRET, "/root/.npmrc", f"registry=https://registry.lab.test/\n//registry.lab.test/:_authToken=npm_{A32}abcd\n"),
    (SECRET, "/home/anna/.yarnrc.yml", f"npmRegistries:\n  //registry.lab.test:\n    npmAuthToken: {A40}\n"),
    (SECRET, "/home/anna/.pypirc", f"[pypi]\nusername = __token__\npassword = pypi-AgEIcHlwaS5vcmc{A64}\n"),
    (SECRET, "/srv/www/.git/config", f"[core]\n\tbare = false\n[remote \"origin\"]\n\turl = https://oauth2:glpat-{A20}@gitlab.lab.test/web/site.git\n"),
    (SECRET, "/root/.git-credentials", f"https://anna:{A24}@git.lab.test\n"),
    (SECRET, "/home/anna/.config/hub", f"github.com:\n- user: anna\n  oauth_token: {HEX40}\n  protocol: https\n"),
    (SECRET, "/etc/sentry.conf", f"dsn = https://{HEX32}:{HEX32}@sentry.lab.test/2\n"),
    (SECRET, "/etc/newrelic-infra.yml", f"license_key: eu01xx{HEX32}AL\n"),
    (SECRET, "/etc/telegraf/telegraf.d/out.conf", f'[[outputs.influxdb_v2]]\n  urls = ["http://10.0.0.9:8086"]\n  token = "{A64}{A20}=="\n  organization = "lab"\n'),
    (SECRET, "/etc/alertmanager/alertmanager.yml", f"global:\n  smtp_smarthost: mx.lab.test:587\n  smtp_auth_username: alert\n  smtp_auth_password: {P2}\n"),
    (SECRET, "/opt/uptime/pagerduty.yaml", f"receivers:\n  - name: ops\n    pagerduty_configs:\n      - routing_key: {HEX32}\n"),
    (SECRET, "/opt/app/jwt", JWT + "\n"),
    (SECRET, "/opt/app/mail.py", f"import sendgrid\nsg = sendgrid.SendGridAPIClient('SG.{A24[:22]}.{A40}abc')\n"),
    (SECRET, "/etc/mailgun", f"key-{HEX32}\n"),
    # applications
    (SECRET, "/var/www/blog/wp-config.php", "<?php\ndefine( 'DB_NAME', 'wp' );\ndefine( 'DB_USER', 'wp' );\ndefine( 'DB_PASSWORD', '" + P1 + "' );\ndefine( 'DB_HOST', 'localhost' );\ndefine( 'AUTH_KEY', 'k}4.h+P|o?~E3o `W7-Fq' );\n"),
    (SECRET, "/var/www/cloud/config/config.php", "<?php\n$CONFIG = array (\n  'instanceid' => 'oc8f2k1x9p3q',\n  'passwordsalt' => '" + A24 + "',\n  'secret' => '" + A48 + "',\n  'dbpassword' => '" + P3 + "',\n);\n"),
    (SECRET, "/var/www/shop/.env", f"APP_NAME=shop\nAPP_KEY=base64:{B64}\nDB_HOST=db\nDB_PASSWORD={P4}\n"),
    (SECRET, "/srv/www/app/.env.production.local", f"NODE_ENV=production\nSESSION_SECRET={A32}\n"),
    (SECRET, "/opt/django/site/settings.py", "import os\nDEBUG = False\nSECRET_KEY = 'n$4k)p9+xq1w-z0v!m2l8@r7t6y5u3i&e_a'\nALLOWED_HOSTS = ['x.lab.test']\n"),
    (SECRET, "/opt/rails/config/master.key", HEX32),
    (SECRET, "/opt/rails/config/database.yml", f"production:\n  adapter: postgresql\n  username: rails\n  password: {P3}\n"),
    (SECRET, "/var/lib/tomcat10/conf/tomcat-users.xml", f"<tomcat-users>\n  <user username=\"manager\" password=\"{P2}\" roles=\"manager-gui\"/>\n</tomcat-users>\n"),
    (SECRET, "/opt/spring/application-prod.yml", f"spring:\n  datasource:\n    url: jdbc:postgresql://db/app\n    username: app\n    password: \"{P1}\"\n"),
    (SECRET, "/opt/spring/application.properties", f"spring.datasource.username=app\nspring.datasource.password={P4}\n"),
    (SECRET, "/var/www/dotnet/appsettings.json", '{"ConnectionStrings": {"Default": "Server=db;Database=app;User Id=app;Password=' + P3 + ';"}}\n'),
    (SECRET, "/opt/gitea/custom/conf/app.ini", f"[security]\nINSTALL_LOCK = true\nINTERNAL_TOKEN = {JWT}\nSECRET_KEY = {A64}\n"),
    (SECRET, "/etc/gitlab/initial_root_password", f"# WARNING: This value is valid only in the following conditions\n#          ...\n\nPassword: {B64}\n\n# NOTE: This file will be deleted\n"),
    (SECRET, "/etc/matrix-synapse/conf.d/secrets.yaml", f'registration_shared_secret: "{A40}"\nmacaroon_secret_key: "{A40}"\n'),
    (SECRET, "/etc/matrix-synapse/homeserver.signing.key", "ed25519 a_Qx7v q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQq83vEjRWeJA\n"),
    (SECRET, "/etc/turnserver.conf", f"listening-port=3478\nuse-auth-secret\nstatic-auth-secret={HEX64}\nrealm=lab.test\n"),
    (SECRET, "/etc/ejabberd/ejabberd.yml", f"sql_type: pgsql\nsql_username: ejabberd\nsql_password: \"{P1}\"\n"),
    (SECRET, "/etc/prosody/prosody.cfg.lua", f'sql = {{ driver = "PostgreSQL", database = "prosody", username = "prosody", password = "{P2}", host = "localhost" }}\n'),
    (SECRET, "/etc/murmur.ini", f"database=/var/lib/mumble/murmur.sqlite\nserverpassword={P2}\nusers=100\n"),
    (SECRET, "/etc/asterisk/pjsip.conf", f"[100-auth]\ntype=auth\nauth_type=userpass\nusername=100\npassword={P2}\n"),
    (SECRET, "/etc/asterisk/voicemail.conf", "[default]\n100 => 4711,Anna,anna@lab.test\n"),
    (SECRET, "/etc/snmp/snmpd.conf.d/local.conf", f"createUser monitor SHA \"{P1}\" AES \"{P4}\"\nrouser monitor priv\n"),
    (SECRET, "/etc/nut/upsd.users", f"[upsmon]\n  password = {P2}\n  upsmon primary\n"),
    (SECRET, "/etc/bareos/bareos-fd.d/director/bareos-dir.conf", f'Director {{\n  Name = bareos-dir\n  Password = "[md5]{HEX32}"\n}}\n'),
    (SECRET, "/opt/keycloak/conf/keycloak.conf", f"db=postgres\ndb-username=kc\ndb-password={P3}\n"),
    (SECRET, "/etc/roundcube/config.inc.php", "<?php\n$config['db_dsnw'] = 'mysql://roundcube:" + P3 + "@localhost/roundcube';\n$config['des_key'] = 'rcmail-!24ByteDESkey*Str';\n"),
    (SECRET, "/etc/phpmyadmin/config-db.php", "<?php\n$dbuser='phpmyadmin';\n$dbpass='" + P3 + "';\n$dbname='phpmyadmin';\n"),
    (SECRET, "/etc/sogo/sogo.conf", '{\n  SOGoProfileURL = "mysql://sogo:' + P3 + '@127.0.0.1:3306/sogo/sogo_user_profile";\n}\n'),
    # mail, databases, VPN
    (SECRET, "/etc/dovecot/dovecot-sql.conf.ext", f"driver = mysql\nconnect = host=127.0.0.1 dbname=mail user=mail password={P3}\ndefault_pass_scheme = SHA512-CRYPT\n"),
    (SECRET, "/etc/dovecot/passwd.masterusers", "admin:{PLAIN}" + P2 + "::::::\n"),
    (SECRET, "/etc/postfix/mysql-virtual.cf", f"user = mail\npassword = {P3}\nhosts = 127.0.0.1\ndbname = mail\n"),
    (SECRET, "/etc/postfix/relay_creds.lmdb", b"\0" * 16 + b"\xde\xc0\xef\xbe\1\0\0\0" + bytes(200) + b"[smtp.lab.test]:587\0anna:" + P1.encode() + bytes(60)),
    (SECRET, "/etc/rspamd/local.d/worker-controller.inc", "password = \"$2$q83vejrwejcrze8snfz4kkvn7xi0vniq$" + "y3ifbmzpxq1" * 5 + "\";\n"),
    (SECRET, "/root/.muttrc", f'set imap_user = "anna@lab.test"\nset imap_pass = "{P2}"\n'),
    (SECRET, "/home/anna/.mbsyncrc", f"IMAPAccount lab\nHost mx.lab.test\nUser anna\nPass {P2}\n"),
    (SECRET, "/home/anna/.offlineimaprc", f"[Repository r]\ntype = IMAP\nremoteuser = anna\nremotepass = {P2}\n"),
    (SECRET, "/root/.mailrc", f"set smtp-auth-user=anna@lab.test\nset smtp-auth-password={P2}\n"),
    (SECRET, "/etc/nullmailer/remotes", f"smtp.lab.test smtp --port=587 --auth-login --user=anna --pass={P1}\n"),
    (SECRET, "/etc/redis/users.acl", f"user default off\nuser app on #{HEX64} ~* +@all\n"),
    (SECRET, "/etc/mongodb/keyfile", (B64L[:60] + "\n") * 12),
    (SECRET, "/root/.mongorc.js", f"db = connect('localhost/admin');\ndb.auth('root', '{P4}');\n"),
    (SECRET, "/root/.mylogin.cnf", bytes(4) + bytes(range(1, 21)) + struct.pack("<i", 32) + bytes(range(100, 132))),
    (SECRET, "/etc/rabbitmq/definitions.json", f'{{"users": [{{"name": "app", "password_hash": "{B64}aZ==", "hashing_algorithm": "rabbit_password_hashing_sha256"}}]}}\n'),
    (SECRET, "/etc/pgbouncer/userlist.txt", f'"app" "SCRAM-SHA-256$4096:{B64[:22]}==${B64}:{B64}"\n'),
    (SECRET, "/etc/postgresql-common/pg_service.conf", f"[app]\nhost=10.0.0.7\nuser=app\npassword={P3}\n"),
    (SECRET, "/opt/backup/dump.sql", f"CREATE USER 'app'@'%' IDENTIFIED BY '{P3}';\nGRANT ALL ON app.* TO 'app'@'%';\n"),
    (SECRET, "/opt/backup/globals.sql", f"CREATE ROLE app;\nALTER ROLE app WITH LOGIN PASSWORD 'md5{HEX32}';\n"),
    (SECRET, "/etc/proxysql.cnf", f'mysql_users =\n(\n  {{ username = "app", password = "{P3}", default_hostgroup = 0 }}\n)\n'),
    (SECRET, "/etc/wireguard/wg-lab.conf", f"[Interface]\nAddress = 10.9.0.2/24\nPrivateKey = {B64}\n\n[Peer]\nPublicKey = {B64}\nPresharedKey = {B64}\n"),
    (SECRET, "/etc/systemd/network/90-wg0.netdev", f"[NetDev]\nName=wg0\nKind=wireguard\n\n[WireGuard]\nPrivateKey={B64}\n"),
    (SECRET, "/etc/NetworkManager/system-connections/Office.nmconnection", f"[connection]\nid=Office\ntype=wifi\n\n[wifi-security]\nkey-mgmt=wpa-psk\npsk={P2}\n"),
    (SECRET, "/var/lib/iwd/Office.psk", f"[Security]\nPreSharedKey={HEX64}\nPassphrase={P2}\n"),
    (SECRET, "/etc/openvpn/client.ovpn", "client\ndev tun\nremote vpn.lab.test 1194\n<key>\n" + pem("PRIVATE KEY") + "</key>\n"),
    (SECRET, "/etc/xl2tpd/l2tp-secrets", f"* * {P2}\n"),
    (SECRET, "/var/lib/zerotier-one/identity.secret", f"1a2b3c4d5e:0:{HEX64}{HEX64}:{HEX64}{HEX64}\n"),
    (SECRET, "/etc/netbird/config.json", f'{{"PrivateKey": "{B64}", "PreSharedKey": "", "SSHKey": "-----BEGIN PRIVATE KEY-----\\nMC4CAQAwBQYDK2VwBCIEI\\n-----END PRIVATE KEY-----\\n"}}\n'),
    (SECRET, "/root/.cloudflared/3f1c9a2e-77b0-4c1d-9e85-2a6d40b7c813.json", f'{{"AccountTag":"{HEX32}","TunnelSecret":"{B64}","TunnelID":"3f1c9a2e-77b0-4c1d-9e85-2a6d40b7c813"}}'),
    (SECRET, "/etc/nebula/host.key", f"-----BEGIN NEBULA X25519 PRIVATE KEY-----\n{B64}\n-----END NEBULA X25519 PRIVATE KEY-----\n"),
    (SECRET, "/etc/tinc/lab/rsa_key.priv", pem("RSA PRIVATE KEY")),
    # directories, hashes, keys
    (SECRET, "/etc/krb5.keytab", KEYTAB),
    (SECRET, "/etc/sssd/sssd.conf", f"[domain/lab]\nid_provider = ldap\nldap_default_bind_dn = cn=ro,dc=lab\nldap_default_authtok = {P2}\n"),
    (SECRET, "/etc/ldap.secret", f"{P1}\n"),
    (SECRET, "/etc/ldap/slapd.d/cn=config/olcDatabase={1}mdb.ldif", "dn: olcDatabase={1}mdb\nolcRootDN: cn=admin,dc=lab\nolcRootPW:: e1NTSEF9cTgzdkVqUldlSkNyemU4U05GWjRrS3ZON3hJMFZuaVE=\n"),
    (SECRET, "/root/users.ldif", "dn: uid=anna,ou=people,dc=lab\nuid: anna\nuserPassword: {SSHA}q83vEjRWeJCrze8SNFZ4kKvN7xI0VniQ\n"),
    (SECRET, "/var/backups/shadow.bak.1", f"root:{YESC}:19700:0:99999:7:::\nanna:{SHA512}:19700:0:99999:7:::\n"),
    (SECRET, "/root/passwd.old", f"root:x:0:0:root:/root:/bin/bash\nanna:{SHA512}:1000:1000::/home/anna:/bin/bash\n"),
    (SECRET, "/srv/www/private/users", f"anna:{BCRYPT}\n"),
    (SECRET, "/etc/cockpit/ws-certs.d/0-self-signed.key", pem("PRIVATE KEY")),
    (IDENTITY, "/etc/dropbear/dropbear_ed25519_host_key", b"\0\0\0\x0bssh-ed25519\0\0\0\x40" + bytes(range(64))),
    (IDENTITY, "/opt/app/sftp/hostkey", OPENSSH),
    (IDENTITY, "/var/lib/gerrit/etc/ssh_host_rsa_key", pem("RSA PRIVATE KEY")),
    (SECRET, "/home/anna/.gnupg/private-keys-v1.d/9F86D081884C7D659A2FEAA0C55AD015A3BF4F1B.key", GPGKEY),
    (SECRET, "/opt/repo/signing.asc", "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQOYBGXh\n" + B64 + "\n=aBcD\n-----END PGP PRIVATE KEY BLOCK-----\n"),
    (SECRET, "/root/.password-store/.gpg-id.key", "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\nlQOYBGXh\n-----END PGP PRIVATE KEY BLOCK-----\n"),
    (SECRET, "/root/Passwords.kdbx", b"\x03\xd9\xa2\x9a\x67\xfb\x4b\xb5\1\0\4\0" + bytes(range(250))),
    (SECRET, "/home/anna/.mozilla/firefox/x1.default/logins.json", f'{{"nextId": 2, "logins": [{{"hostname": "https://x.lab.test", "encryptedUsername": "{B64}", "encryptedPassword": "{B64}"}}]}}\n'),
    (SECRET, "/home/anna/.local/share/keyrings/login.keyring", b"GnomeKeyring\n\r\0\n\0\0\0\0" + bytes(range(200))),
    (SECRET, "/root/.config/borg/keys/backup_lab_test", f"BORG_KEY {HEX64}\n{B64L}\n"),
    (SECRET, "/root/.borg-passphrase", f"{P4}\n"),
    (SECRET, "/etc/restic/password", f"{P4}\n"),
    (SECRET, "/etc/luks-keys/data.key", bytes((i * 73 + 41) % 256 for i in range(4096))),
    (SECRET, "/etc/docker/daemon-creds/config.json", '{"auths": {"registry.lab.test": {"auth": "YW5uYTpSb3NlbmhvbHotMTkh"}}}\n'),
    (SECRET, "/run/user-saved/containers/auth.json", '{\n\t"auths": {\n\t\t"quay.io": {\n\t\t\t"auth": "YW5uYTpSb3NlbmhvbHotMTkh"\n\t\t}\n\t}\n}\n'),
    (SECRET, "/etc/cifs-creds", f"username=anna\npassword={P2}\ndomain=LAB\n"),
    (SECRET, "/etc/davfs2/secrets", f"https://cloud.lab.test/dav anna {P2}\n"),
    (SECRET, "/etc/passwd-s3fs", f"AKIAQ7XV2LM9KA4ZR8TN:{A40}\n"),
    (SECRET, "/etc/inadyn.conf", f"provider default@freedns.afraid.org {{\n    username = anna\n    password = {P2}\n}}\n"),
    (SECRET, "/etc/apt/auth.conf.d/lab.conf", f"machine deb.lab.test login anna password {P2}\n"),
    (SECRET, "/etc/yum.repos.d/lab.repo", f"[lab]\nname=lab\nbaseurl=https://anna:{P3}@rpm.lab.test/el9\n"),
    (SECRET, "/etc/apt/sources.list.d/private.list", f"deb https://build:{A24}@deb.lab.test/debian bookworm main\n"),
    (SECRET, "/etc/fail2ban/action.d/abuseipdb.local", f"[Init]\nabuseipdb_apikey = {HEX64}{A20}\n"),
    (SECRET, "/etc/cron.d/push", f"0 3 * * * root mysqldump -uapp -p{P3} app > /var/backups/app.sql\n"),
    (SECRET, "/usr/local/sbin/backup.sh", f"#!/bin/sh\nset -e\nPGPASSWORD='{P1}' pg_dump app | gzip > /srv/app.gz\n"),
    (SECRET, "/usr/local/bin/mount-nas", f"#!/bin/sh\nmount -t cifs //nas/x /mnt -o username=anna,password={P2}\n"),
    (SECRET, "/usr/local/bin/fetch", f"#!/bin/sh\nsshpass -p '{P1}' scp anna@10.0.0.4:/srv/x .\ncurl -u anna:{P3} https://x.lab.test/y\n"),
    (SECRET, "/opt/stack/docker-compose.yml", f"services:\n  db:\n    image: mariadb\n    environment:\n      MYSQL_ROOT_PASSWORD: {P1}\n"),
    (SECRET, "/opt/stack/secrets/db_password", P3),
    (SECRET, "/var/lib/cloud/seed/nocloud/user-data", f"#cloud-config\nchpasswd:\n  list: |\n    root:{P1}\n"),
    (SECRET, "/opt/install/preseed.cfg", f"d-i passwd/root-password password {P1}\nd-i passwd/root-password-again password {P1}\n"),
    (SECRET, "/etc/grub.d/01_users", "cat <<E\nset superusers=\"root\"\npassword_pbkdf2 root grub.pbkdf2.sha512.10000." + HEX64 * 2 + "." + HEX64 * 2 + "\nE\n"),
    (SECRET, "/root/.google_authenticator", "JBSWY3DPEHPK3PXPQ4XV2LM7KA\n\" RATE_LIMIT 3 30\n\" TOTP_AUTH\n12345678\n23456789\n"),
    (SECRET, "/etc/ppp/peers/dsl", f"user anna@isp.test\npassword {P2}\nplugin pppoe.so\n"),
    (SECRET, "/root/.ssh/deploy", OPENSSH),
    (SECRET, "/etc/ubuntu-advantage/uaclient.conf.bak", "contract_url: https://contracts.canonical.com\ncontract_token: C14q7Xv2Lm9Ka4Zr8Tn3Wd6Yp5cBe1H\n"),
    # identities of the machine
    (IDENTITY, "/etc/machine-id", HEX32 + "\n"),
    (IDENTITY, "/var/lib/systemd/credential.secret", bytes((i * 91 + 7) % 256 for i in range(4108))),
    (IDENTITY, "/etc/iscsi/initiatorname.iscsi", "InitiatorName=iqn.1993-08.org.debian:01:4bd19a7c03f\n"),
    (IDENTITY, "/etc/nvme/hostnqn", "nqn.2014-08.org.nvmexpress:uuid:3f1c9a2e-77b0-4c1d-9e85-2a6d40b7c813\n"),
    (IDENTITY, "/var/lib/dhcp/dhclient.eth0.leases", 'lease {\n  interface "eth0";\n  fixed-address 10.0.0.4;\n}\n'),
    (IDENTITY, "/var/lib/dhcpcd/eth0.lease", bytes(300)),
    (IDENTITY, "/var/lib/NetworkManager/internal-1f2e-eth0.lease", "# This is private data. Do not parse.\nADDRESS=10.0.0.4\nCLIENTID=ff1a2b\n"),
    (IDENTITY, "/etc/udev/rules.d/70-persistent-net.rules", 'SUBSYSTEM=="net", ACTION=="add", ATTR{address}=="52:54:00:12:34:56", NAME="eth0"\n'),
    (IDENTITY, "/etc/systemd/network/10-lan.link", "[Match]\nMACAddress=52:54:00:12:34:56\n\n[Link]\nName=lan0\n"),
    (IDENTITY, "/var/lib/landscape/client/broker.bpickle", b"ds4:userns9:secure-idu32:" + A32.encode() + b";;"),
    (IDENTITY, "/var/lib/snapd/state.json", f'{{"data": {{"auth": {{"device": {{"brand": "generic", "model": "generic-classic", "serial": "{HEX32}", "key-id": "{A40}", "session-macaroon": "{A64}"}}}}}}}}\n'),
    (IDENTITY, "/var/lib/cloud/instance/obj.pkl", b"\x80\x04\x95" + bytes(80)),
    (IDENTITY, "/var/lib/cloud/data/instance-id", "i-0a1b2c3d4e5f60718\n"),
    (IDENTITY, "/opt/teleport/data/host_uuid", "3f1c9a2e-77b0-4c1d-9e85-2a6d40b7c813\n"),
    (IDENTITY, "/var/lib/waagent/SharedConfig.xml", "<SharedConfig><Deployment name=\"x\"/><Instances><Instance id=\"y\" address=\"10.0.0.4\"/></Instances></SharedConfig>\n"),
    (IDENTITY, "/var/lib/netdata/registry/netdata.public.unique.id", "3f1c9a2e-77b0-11ee-9e85-2a6d40b7c813"),
    (IDENTITY, "/var/lib/chrony/drift", "            -12.345             0.067\n"),
    (IDENTITY, "/etc/ssh/ssh_host_ed25519_key.old", OPENSSH),
    # traces of the build and of those who built
    (TRACE, "/home/anna/.local/share/fish/fish_history", "- cmd: mysql -pabc\n  when: 1700000000\n"),
    (TRACE, "/root/.zsh_history", ": 1700000000:0;export X=1\n"),
    (TRACE, "/root/.python_history", "import os\n"),
    (TRACE, "/home/anna/.mysql_history", "_HiStOrY_V2_\nselect\\0401;\n"),
    (TRACE, "/home/anna/.rediscli_history", "auth x\n"),
    (TRACE, "/home/anna/.local/state/python_history", "import os\n"),
    (TRACE, "/root/.cache/pip/http/a/b/c", bytes(20)),
    (TRACE, "/root/.ssh/known_hosts", "10.0.0.4 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEx\n"),
    (TRACE, "/var/spool/cron/crontabs/anna", "* * * * * /home/anna/x\n"),
    (TRACE, "/var/spool/cron/atjobs/a0000101b2c3d4", "#!/bin/sh\n# atrun uid=1000 gid=1000\n"),
    (TRACE, "/var/log/wtmp", UTMP),
    (TRACE, "/var/log/btmp.1", UTMP),
    (TRACE, "/var/log/lastlog", bytes(292) + UTMP),
    (TRACE, "/var/log/unattended-upgrades/unattended-upgrades.log", "2024-01-01 00:00:00 INFO x\n"),
    (TRACE, f"/var/log/journal/{HEX32}/system.journal", b"LPKSHHRH" + bytes(80)),
    (TRACE, "/var/crash/_usr_bin_x.0.crash", "ProblemType: Crash\n"),
    (TRACE, "/var/lib/systemd/coredump/core.x.0.zst", b"\x28\xb5\x2f\xfd" + bytes(50)),
    (TRACE, "/home/anna/.nano/search_history", "password\n"),
    (TRACE, "/root/.vim/undo/%etc%shadow", b"Vim\x9fUnDo\xe5" + bytes(40)),
    (TRACE, "/etc/.foo.conf.swp", b"b0VIM 9.0" + bytes(90)),
    (TRACE, "/root/nohup.out", "started\n"),
    (TRACE, "/var/lib/apt/lists/deb.lab.test_dists_x_InRelease", "Origin: x\n"),
)  # fmt: skip
