#!/usr/bin/env bash
# The quick start, against one artifact: quick_start.sh PROGRAM [VERSION]
# PROGRAM is a file that was just built, or a command that an installation made. Ends with status
# 0 once a first tenant has written a scroll and read it back.
set -euo pipefail

program=$1
version=${2:-}
case $program in
*/*) program=$(cd "$(dirname "$program")" && pwd)/$(basename "$program") && chmod +x "$program" ;;
esac

place=$(mktemp -d)
service=
finish() {
    status=$?
    if [ -n "$service" ]; then kill "$service" 2>/dev/null && wait "$service" || true; fi
    if [ "$status" != 0 ] && [ -e "$place/log" ]; then tail -n 40 "$place/log" >&2; fi
    rm -rf "$place"
    exit "$status"
}
trap finish EXIT
cd "$place"

said=$("$program" version)
echo "$said"
if [ -n "$version" ]; then
    case $said in "sqsuper $version "*) ;; *) echo "not version $version" >&2 && exit 1 ;; esac
fi

port=${QUICK_START_PORT:-11337}
"$program" init --port "$port" --admin-port "$((port + 1))" >init.txt
token=$(grep -oE 'pmb-v1-[0-9a-f]+' init.txt | head -n 1)
"$program" run >log 2>&1 &
service=$!

url="http://127.0.0.1:$port/api/v2"
at='p=notes&c=1.1.1/1.1.1/1.1.1'
for _ in $(seq 300); do
    if curl -fs -m 5 -o /dev/null "http://127.0.0.1:$port/health"; then break; fi
    kill -0 "$service"
    sleep 0.1
done
curl -fsS -m 30 -H "Authorization: Bearer $token" --data-binary 'Hello, phext' "$url/update?$at"
echo
read_back=$(curl -fsS -m 30 -H "Authorization: Bearer $token" "$url/select?$at")
echo "$read_back"
[ "$read_back" = 'Hello, phext' ]
