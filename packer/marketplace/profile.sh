# The first login on a terminal sets mailcow up. Never in scp, sftp, or a command over ssh: they are no interactive login shells.
case $- in
*i*)
    if [ -t 0 ] && [ -t 1 ] && [ -x /opt/cowgate/onboarding/start ]; then
        if [ "$(id -u)" = 0 ]; then
            /opt/cowgate/onboarding/start
        else
            echo "cowgate: mailcow is not set up on this machine yet: sudo /opt/cowgate/onboarding/start"
        fi
    fi
    ;;
esac
