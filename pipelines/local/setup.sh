#!/bin/sh
# Makes .venv from requirements.lock and fetches Spark's Delta jars. Run again, it does nothing unless the lock or the metadata changed.
set -eu
cd "$(dirname "$0")/../.."

venv=.venv
stamp=$venv/share/recloop/installed
log=$venv/share/recloop/setup.log
began=$(date +%s)

fail() {
    echo "setup: $*" >&2
    exit 1
}

wanted=$(cat requirements.lock setup.cfg pyproject.toml | sha256sum | cut -d ' ' -f 1)

find_python() {
    for candidate in python3.11 python3; do
        if command -v "$candidate" > /dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2> /dev/null; then
            command -v "$candidate"
            return
        fi
    done
    fail "found no Python 3.11; on Debian: apt-get install -y python3.11 python3.11-venv"
}

java_is_there() {
    java=${JAVA_HOME:+$JAVA_HOME/bin/}java
    command -v "$java" > /dev/null && "$java" -version 2>&1 | grep -Eq 'version "(17|21)[."]'
}

get_java() {
    command="apt-get install -y openjdk-17-jre-headless"
    command -v apt-get > /dev/null || fail "found no Java 17 or 21; install one and run again"
    as_root=
    if [ "$(id -u)" != 0 ]; then
        sudo -n true 2> /dev/null || fail "found no Java 17 or 21; run: sudo $command"
        as_root="sudo -n"
    fi
    echo "setup: installing Java 17 (about 200 MB): $command"
    ($as_root apt-get update -qq && $as_root env DEBIAN_FRONTEND=noninteractive $command) > "$log" 2>&1 || fail "could not install Java 17, see $log; run: $command"
    java_is_there || fail "JAVA_HOME or the path still names another Java than 17 or 21: unset JAVA_HOME and run again"
}

# uv reads no pip configuration: a package index that pip was told of is passed on.
install_environment() {
    echo "setup: installing the locked environment into $venv: about 6 GB on disk, of which 3 GB are downloaded; minutes, once"
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv > "$log" 2>&1 || fail "$(reason)"
    index=${UV_DEFAULT_INDEX:-${PIP_INDEX_URL:-$("$venv/bin/python" -m pip config get global.index-url 2> /dev/null || true)}}
    if [ -n "$index" ]; then export UV_DEFAULT_INDEX="$index"; fi
    export UV_SYSTEM_CERTS=true UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-180}" VIRTUAL_ENV="$PWD/$venv"
    "$venv/bin/uv" pip install --quiet --require-hashes --compile-bytecode -r requirements.lock > "$log" 2>&1 || fail "$(reason)"
    "$venv/bin/uv" pip install --quiet --no-deps --no-build-isolation --editable . > "$log" 2>&1 || fail "$(reason)"
}

reason() {
    said=$(grep -v '^[[:space:]]*$' "$log" | tail -n 1 | sed 's/^[[:space:]│╰─▶├×]*//')
    echo "could not install the environment: ${said:-no message}; check the package index (pip config, UV_DEFAULT_INDEX) and disk space (6 GB), then run again; all of it: $log"
}

if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && java_is_there; then exit 0; fi

[ "$(uname -sm)" = "Linux x86_64" ] || fail "found $(uname -sm); the locked environment is for Linux x86_64"
python=$(find_python)
mkdir -p "$venv/share/recloop"
java_is_there || get_java
if ! "$venv/bin/python" -m pip --version > /dev/null 2>&1; then
    "$python" -m venv "$venv" > "$log" 2>&1 || fail "this Python makes no environments; on Debian: apt-get install -y python3.11-venv"
fi
install_environment
"$venv/bin/python" -m pipelines.local.jars
echo "$wanted" > "$stamp"
echo "setup: done in $(($(date +%s) - began)) s"
