#!/bin/sh
# A real MariaDB in the place of mailcow's: its database, its user, and a moment later the table of administrators in the shape
# that mailcow's web part gives it, with the password that every fresh mailcow has.
data=/var/lib/mysql
mkdir -p /run/mysqld
[ -d $data/mysql ] || mariadb-install-db --user=root --datadir=$data --skip-test-db >/dev/null
cat > /tmp/first.sql <<END
CREATE DATABASE IF NOT EXISTS mailcow;
CREATE USER IF NOT EXISTS 'mailcow'@'localhost' IDENTIFIED BY '$MYSQL_PASSWORD';
GRANT ALL ON mailcow.* TO 'mailcow'@'localhost';
END
cat > /tmp/tables.sql <<'END'
CREATE TABLE IF NOT EXISTS admin (
    username VARCHAR(255) NOT NULL PRIMARY KEY,
    password VARCHAR(255) NOT NULL,
    superadmin TINYINT(1) NOT NULL DEFAULT 0,
    created DATETIME NOT NULL DEFAULT NOW(),
    modified DATETIME ON UPDATE NOW(),
    active TINYINT(1) NOT NULL DEFAULT 1
);
INSERT IGNORE INTO admin (username, password, superadmin)
    VALUES ('admin', '{SSHA256}AyuSxpVoBlaSHElJAdG3gXPqUUP0YyShxuKQ6ehG1lFsYWJzYWx0MQ==', 1),
    ('somebody', '{SSHA256}AyuSxpVoBlaSHElJAdG3gXPqUUP0YyShxuKQ6ehG1lFsYWJzYWx0MQ==', 0);
END
(
    until mariadb --user=mailcow --password="$MYSQL_PASSWORD" mailcow < /tmp/tables.sql 2>/dev/null; do sleep 2; done
) &
exec mariadbd --user=root --datadir=$data --socket=/run/mysqld/mysqld.sock --init-file=/tmp/first.sql
