#!/bin/bash
# Replays the cases recorded from kube-apiserver against the built binary.
#
# Usage: conformance.sh [BINARY] [replay.py options...]      (default binary: target/debug/ferrovirt)
#   CONFORMANCE_DIR   the kit, default ../shared/conformance/apiserver; without it the check is skipped, and says so
#   CONFORMANCE_ALLOW list of cases that may fail, default conformance/apiserver-allow.txt: `NAME reason...` per line
# Fails when a case fails that is not on the list, when one on the list passes, or when the list names more than
# five: it can only shrink.
set -euo pipefail
cd "$(dirname "$0")/.."

kit=${CONFORMANCE_DIR:-../shared/conformance/apiserver}
allow=${CONFORMANCE_ALLOW:-conformance/apiserver-allow.txt}
binary=target/debug/ferrovirt
if [[ $# -gt 0 && $1 != -* ]]; then
    binary=$1
    shift
fi
if [[ ! -f $kit/replay.py ]]; then
    echo "conformance: skipped, $kit is not there"
    exit 0
fi
if [[ ! -x $binary ]]; then
    echo "conformance: $binary is missing: build it first" >&2
    exit 2
fi

work=$(mktemp -d)
server=
finish() {
    if [[ -n $server ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap finish EXIT

admin=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
nobody=$(od -An -N16 -tx1 /dev/urandom | tr -d ' \n')
printf '%s,admin,admin,"system:masters"\n%s,joe,joe\n' "$admin" "$nobody" >"$work/tokens"

# A copy, so that a build in the meantime does not replace what runs.
cp "$binary" "$work/ferrovirt"
FERROVIRT_LOG=${FERROVIRT_LOG:-warn} "$work/ferrovirt" up --data-dir "$work/data" --listen 127.0.0.1:0 \
    --kubeconfig "$work/kubeconfig" --node-name conformance --token-auth-file "$work/tokens" \
    >"$work/out" 2>"$work/err" &
server=$!
url=
for _ in $(seq 200); do
    url=$(grep -om1 'https://[^ ]*' "$work/out" || true)
    [[ -n $url ]] && grep -q ready "$work/out" && break
    if ! kill -0 "$server" 2>/dev/null; then
        echo "conformance: the server ended before it was ready:" >&2
        cat "$work/err" >&2
        exit 2
    fi
    sleep 0.1
done
if [[ -z $url ]]; then
    echo "conformance: the server is not ready after 20 s" >&2
    cat "$work/err" >&2
    exit 2
fi

# This case gives the user without rights the right to read /metrics; others want it to have none meanwhile.
alone='^authz/non-resource-urls$'
passed=0
failed=0
replay() {
    python3 "$kit/replay.py" --base "$url" --token "$admin" --token2 "$nobody" --scale 3 --jobs 8 "$@" \
        "$kit/cases" >"$work/part" 2>&1 || true
    local summary
    summary=$(tail -n1 "$work/part")
    if ! [[ $summary =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed ]]; then
        echo "conformance: the replay did not finish:" >&2
        tail -n20 "$work/part" >&2
        exit 2
    fi
    passed=$((passed + BASH_REMATCH[1]))
    failed=$((failed + BASH_REMATCH[2]))
    cat "$work/part" >>"$work/replay"
}
if [[ " $* " == *" --only "* ]]; then
    replay "$@"
else
    replay --skip "$alone" "$@"
    replay --only "$alone" "$@"
fi
sed -n 's/^FAIL \([^ ]*\) .*/\1/p' "$work/replay" | sort -u >"$work/failed"
sed -n 's/^ok \([^ ]*\).*/\1/p' "$work/replay" | sort -u >"$work/passed"
{ grep -v '^[[:space:]]*\(#\|$\)' "$allow" 2>/dev/null || true; } | awk '{print $1}' | sort -u >"$work/allowed"

unexpected=$(comm -23 "$work/failed" "$work/allowed")
stale=$(comm -12 "$work/passed" "$work/allowed")
result=0
if (($(wc -l <"$work/allowed") > 5)); then
    echo "conformance: $allow names more than five cases"
    result=1
fi
if [[ -n $unexpected ]]; then
    echo "conformance: these cases fail:"
    while read -r name; do grep -m1 "^FAIL $name " "$work/replay"; done <<<"$unexpected"
    result=1
fi
if [[ -n $stale ]]; then
    echo "conformance: these cases pass now; take them off $allow:"
    echo "$stale"
    result=1
fi
echo "conformance: $passed passed, $failed failed ($(wc -l <"$work/allowed") allowed to fail)"
exit $result
