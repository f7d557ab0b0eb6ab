#!/bin/sh
# Builds static/vendor/plotly anew from npm's plotly.js: only what the charts draw with. Needs node and npm.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cp "$root"/scripts/plotly/* "$work"
cd "$work"
# What plotly.js depends on it names by ranges: the date makes them the same each time.
npm install --before=2026-11-26 --ignore-scripts --no-audit --no-fund --loglevel=error
node build.mjs "$root/static/vendor/plotly"
