#!/bin/sh
# Make the pool where it is missing, make the deployments as prefect.yaml describes them, and work.
set -eu
prefect --no-prompt work-pool inspect tapecast >/dev/null 2>&1 ||
    prefect --no-prompt work-pool create tapecast --type process
prefect --no-prompt deploy --all
exec prefect worker start --pool tapecast --with-healthcheck
