#!/bin/sh
# Repairs what a build can repair, puts in what checks each first boot, and writes the build report. A blocked image is no failure
# here, so that the report can be fetched; gate.sh is where the build fails.
set -eu
code=0
cowgate --setup run --phase build --yes || code=$?
case $code in 0 | 3 | 4) ;; *) exit "$code" ;; esac
