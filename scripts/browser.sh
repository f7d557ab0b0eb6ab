#!/bin/sh
# Prints the Chromium or Chrome that the browser tests use; installs Debian's where there is none and it may.
set -eu

find_browser() {
    for name in ${CHROMIUM:-} chromium chromium-browser google-chrome google-chrome-stable; do
        if command -v "$name"; then
            return
        fi
    done
    return 1
}

install_browser() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        printf 'The browser tests need Chromium or Chrome. Install one, or name it: make test CHROMIUM=/path/to/chromium\n' >&2
        exit 1
    fi
    printf 'Installing Chromium for the browser tests …\n' >&2
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq >&2
    apt-get install -qq -y --no-install-recommends chromium >&2
}

find_browser || { install_browser; find_browser; }
