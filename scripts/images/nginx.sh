# The image that serves the pages which a build made. Sourced by setup-images.
# shellcheck shell=bash

NGINX_TAGS=(nginx:stable-alpine)

make_nginx() {
  find_missing "${NGINX_TAGS[@]}"
  ((${#missing[@]})) || return 0
  make_of_packages "${missing[@]}" -- nginx-light <<'DOCKERFILE'
STOPSIGNAL SIGQUIT
CMD ["nginx", "-g", "daemon off;"]
DOCKERFILE
}
