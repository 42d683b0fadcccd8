#!/bin/sh
# The client of the database's stand-in: the two statements that an install makes. (mariadbd.sh is a real MariaDB.)
read -r query
file=/var/lib/mysql/admin
case $query in
"SELECT password FROM admin WHERE username = 'admin';") [ -e $file ] && cat $file ;;
"UPDATE admin SET password = '"*)
    new=${query#*password = \'}
    old=${query#*AND password = \'}
    [ "$(cat $file)" != "${old%%\'*}" ] || echo "${new%%\'*}" > $file
    ;;
*) echo "ERROR 1064 (42000)" >&2; exit 1 ;;
esac
