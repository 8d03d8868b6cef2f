#!/bin/sh
# Sets the project up: system packages, .venv with the locked packages, the oldest supported hikari for its test.
# redis-server is for one test, of a cache in Redis: without root it is left out, and that test is skipped.
#
# Quiet, safe to repeat, and under a second when nothing changed. Details go to .run/setup.log.
#   AMQP_URL  a broker that runs already: then rabbitmq-server is not needed
#   PYTHON    the interpreter for .venv (default: the first one of 3.11 or newer)
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"

log=.run/setup.log
no_redis=.run/no-redis # it could not be installed: not tried again
stamp=.venv/.set-up
oldest_hikari=.tools/hikari-2.6.0
lightbulb=.tools/lightbulb
python=.venv/bin/python
policy=/usr/sbin/policy-rc.d
PATH=$PATH:/usr/sbin:/sbin
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

say() { printf 'set-up: %s\n' "$*"; }

fail() {
    printf 'set-up: %s\n' "$*" >&2
    exit 1
}

# step "what is done" "what to do if it fails" command...
step() {
    say "$1"
    advice=$2
    shift 2
    printf '\n== %s\n' "$*" >>"$log"
    if ! "$@" >>"$log" 2>&1 </dev/null; then
        tail -n 20 "$log" >&2
        fail "$advice (all of it: $log)"
    fi
}

fingerprint() {
    {
        printf '%s\n' "$root"
        cat requirements.lock tests/hikari-2.6.0.lock tests/lightbulb.lock pyproject.toml ops/setup.sh
    } | sha256sum | cut -d ' ' -f 1
}

has_broker() { [ -n "${AMQP_URL:-}" ] || [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || command -v rabbitmq-server >/dev/null; }

has_redis() { command -v redis-server >/dev/null; }

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

can_make_venvs() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

# Prints the interpreter for .venv; nothing if there is none.
find_python() {
    for candidate in ${PYTHON:-python3.11 python3 python3.12 python3.13}; do
        if is_new_enough "$candidate" && can_make_venvs "$candidate"; then
            echo "$candidate"
            return
        fi
    done
}

is_ours() { [ -x "$python" ] && "$python" -m pip --version >/dev/null 2>&1 && grep -qF "$root/.venv" .venv/bin/activate; }

# Prints the command that makes another one run as root: nothing for root, sudo where it asks no password.
root_prefix() {
    if [ "$(id -u)" -eq 0 ]; then
        return 0
    fi
    command -v sudo >/dev/null && sudo -n true 2>/dev/null && echo "sudo -n"
}

missing_packages() {
    if ! is_ours && [ -z "$(find_python)" ]; then
        printf 'python3 python3-venv '
    fi
    if ! has_broker; then
        printf 'rabbitmq-server '
    fi
}

can_install() { command -v apt-get >/dev/null && root_prefix >/dev/null; }

wants_redis() { ! has_redis && [ ! -e "$no_redis" ] && can_install; }

allow_services_again() { $as_root rm -f "$policy"; }

# Debian starts a service when its package is installed; the broker of this project is a private one, as is the Redis of its test.
forbid_services() {
    if [ -e "$policy" ]; then
        return 0
    fi
    trap allow_services_again EXIT
    trap 'exit 130' INT TERM HUP
    # shellcheck disable=SC2016
    $as_root sh -c 'printf "#!/bin/sh\nexit 101\n" >"$1" && chmod 755 "$1"' sh "$policy"
    services_forbidden=yes
}

install_packages() {
    packages=$1
    advice="these packages are missing: ${packages% }; run 'sudo apt-get install ${packages% }'"
    case $packages in *rabbitmq-server*) advice="$advice (or set AMQP_URL to a broker that runs already, instead of rabbitmq-server)" ;; esac
    command -v apt-get >/dev/null || fail "no apt-get here: install with your own tool what Debian calls ${packages% }, then run this again"
    as_root=$(root_prefix) || fail "$advice, then run this again"
    services_forbidden=no
    forbid_services || fail "cannot write $policy, which keeps Debian from starting services"
    step "refreshing the package lists" "$advice" $as_root apt-get -qq -o DPkg::Lock::Timeout=120 update
    # shellcheck disable=SC2086
    step "installing ${packages% }" "$advice" $as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -y -q -o DPkg::Lock::Timeout=120 install --no-install-recommends $packages
    if [ "$services_forbidden" = yes ]; then
        allow_services_again
        trap - EXIT INT TERM HUP
    fi
    if [ -d /run/systemd/system ]; then # else they would start with the machine
        for service in rabbitmq-server redis-server; do
            case $packages in *$service*) $as_root systemctl disable "$service" >>"$log" 2>&1 || true ;; esac
        done
    fi
}

make_venv() {
    interpreter=$(find_python)
    [ -n "$interpreter" ] || fail "no Python of 3.11 or newer that can make virtual environments: install python3-venv, or set PYTHON"
    step "making .venv with $interpreter" "cannot make .venv: delete it and try again" "$interpreter" -m venv --clear .venv
}

install_python_packages() {
    step "installing the locked packages" "cannot install them: check the network and try again" \
        "$python" -m pip install --progress-bar off --require-hashes -r requirements.lock
    step "installing the project" "cannot install the project: read the lines above" \
        "$python" -m pip install --progress-bar off --no-build-isolation --no-deps --editable .
    rm -rf "$oldest_hikari"
    step "fetching the oldest supported hikari" "cannot install it: check the network and try again" \
        "$python" -m pip install --progress-bar off --no-deps --require-hashes --target "$oldest_hikari" -r tests/hikari-2.6.0.lock
    rm -rf "$lightbulb"
    step "fetching lightbulb, which needs that hikari" "cannot install it: check the network and try again" \
        "$python" -m pip install --progress-bar off --no-deps --require-hashes --target "$lightbulb" -r tests/lightbulb.lock
}

wanted=$(fingerprint)
if has_broker && ! wants_redis && [ -x "$python" ] && [ -d "$oldest_hikari" ] && [ -d "$lightbulb" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; then
    exit 0
fi

mkdir -p .run || fail "cannot write into $root: run this as the user who owns it"
: >"$log" || fail "cannot write $root/$log: run this as the user who owns it"
began=$(date +%s)
missing=$(missing_packages)
if [ -n "$missing" ]; then
    ! wants_redis || missing="${missing}redis-server "
    install_packages "$missing"
elif wants_redis; then # in a subshell: what fails there is said, and the rest goes on
    if ! (install_packages "redis-server "); then
        touch "$no_redis"
        say "going on without redis-server: one test is skipped"
    fi
fi
if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ] || [ ! -d "$oldest_hikari" ] || [ ! -d "$lightbulb" ] || [ ! -x "$python" ]; then
    is_ours || make_venv
    rm -f "$stamp"
    install_python_packages
    echo "$wanted" >"$stamp"
fi
say "done in $(($(date +%s) - began)) s"
