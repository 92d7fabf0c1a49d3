#!/bin/sh
# Runs Apache in the foreground. Its parent process opens port 80 and the logs;
# the workers that run PHP are www-data.
set -e
. /etc/apache2/envvars # of Debian; reads variables that are not set
set -u
install -d /run/apache2 /var/lock/apache2 /var/log/apache2
exec apache2 -D FOREGROUND "$@"
