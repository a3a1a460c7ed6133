# Sourced by scripts that need something of Debian. Wants a function `die MESSAGE [HINT]`.
# shellcheck shell=bash

as_root() {
    if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo -n "$@"; fi
}

# Installs packages on this machine, the list of them read anew; what apt prints goes to the file LOG.
install_packages() { # log package...
    local log=$1 hint
    shift
    hint="sudo apt-get install -y --no-install-recommends $*"
    command -v apt-get >/dev/null || die "missing: $*; this machine has no apt-get" "install them by hand"
    if [ "$(id -u)" -ne 0 ] && ! { command -v sudo >/dev/null && sudo -n true 2>/dev/null; }; then
        die "missing packages: $*; you are not root and sudo wants a password or is not there" "$hint"
    fi
    if ! { as_root apt-get -o DPkg::Lock::Timeout=120 update &&
        as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends "$@"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "apt-get could not install $*" "$hint"
    fi
}

# The archive that this machine installs from: the one that carries its own release.
debian_mirror() {
    if [ -n "${LIFEBOAT_DEBIAN_MIRROR:-}" ]; then
        echo "$LIFEBOAT_DEBIAN_MIRROR"
        return
    fi
    local id='' codename=''
    # shellcheck disable=SC1091
    { id=$(. /etc/os-release && echo "${ID:-}") && codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}"); } 2>/dev/null || true
    local uri=''
    [ "$id" != debian ] || uri=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
        awk -v own="$codename" '$1 == own || $1 ~ /^(stable|testing|sid|unstable)$/ { print $2; exit }')
    [ -n "$uri" ] || die "apt's sources on this machine name no Debian archive (ID=$id, release '$codename')" \
        "set LIFEBOAT_DEBIAN_MIRROR to the base URI of one"
    echo "$uri"
}
