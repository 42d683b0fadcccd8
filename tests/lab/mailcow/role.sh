#!/bin/sh
# What every container of the lab does: the part of its service that the tests look at. /lab is the host's, and says who is to fail.
name=${ROLE:-idle}
[ ! -e "/lab/$name.crash" ] || { echo "$name: told to crash"; sleep 1; exit 1; }

case $name in
postfix)
    for port in 25 465 587; do
        # busybox has no mail server; its web server says who connects, and this says it as Postfix does.
        httpd -f -vvv -p "$port" -h /lab 2>&1 | while read -r line; do
            case $line in *"]:"*": connected"*)
                client=${line%%]:*}
                rest=${line#*]:}
                echo "postfix/postscreen[1]: CONNECT from [${client#[}]:${rest%%:*} to [172.22.1.253]:25"
                ;;
            esac
        done &
    done
    ;;
nginx)
    mkdir -p /www && echo "<title>mailcow</title>" > /www/index.html
    httpd -h /www -p "${HTTP_PORT:-80}"
    httpd -h /www -p "${HTTPS_PORT:-443}"
    ;;
mysql)
    # The tables come some time after the server, as php-fpm makes them.
    mkdir -p /var/lib/mysql
    (sleep 2; [ -e /var/lib/mysql/admin ] || echo '{SSHA256}AyuSxpVoBlaSHElJAdG3gXPqUUP0YyShxuKQ6ehG1lFsYWJzYWx0MQ==' > /var/lib/mysql/admin) &
    ;;
esac
trap 'exit 0' TERM INT
while :; do sleep 3600 & wait $!; done
