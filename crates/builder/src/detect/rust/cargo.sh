#!/bin/sh
# Stands before Cargo while Nonna builds. Cargo believes that a file with an old
# date has not changed, and in a build context every file has the same old date:
# what has changed since the last build that succeeded is given today's. Then the
# programs are copied out of the cache.
set -u
PATH="${PATH#/opt/nonna/bin:}"
export PATH LC_ALL=C
mkdir -p "$CARGO_TARGET_DIR" /out/bin
sums="$CARGO_TARGET_DIR/nonna-sums"
now="$(mktemp)"
{
  # The sums are of the same command with the same compiler, or count for nothing.
  printf '%s %s\n' "$*" "$(rustc --version)"
  find . -type f -not -path './.git/*' -exec sha256sum {} + | sort
} >"$now"
changed() {
  if [ -f "$sums" ] && [ "$(head -n 1 "$sums")" = "$(head -n 1 "$now")" ]; then
    tail -n +2 "$sums" >"$now.before"
    tail -n +2 "$now" | comm -13 "$now.before" -
  else
    tail -n +2 "$now"
  fi
}
changed | cut -c67- | xargs -r -d '\n' touch --
# Until this build has succeeded, nobody knows what is compiled of what.
rm -f "$sums"
cargo "$@" || exit
cp "$now" "$sums"
for folder in "$CARGO_TARGET_DIR"/release "$CARGO_TARGET_DIR"/*/release; do
  for name in ${NONNA_PROGRAMS:-}; do
    if [ -x "$folder/$name" ]; then cp "$folder/$name" /out/bin/; fi
  done
done
