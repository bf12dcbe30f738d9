# The images that PHP's apps are built and run in. Sourced by setup-images.
# shellcheck shell=bash

PHP_TAGS=(php:8.2-apache)
COMPOSER_TAGS=(composer:2)
EXTENSIONS_TAGS=(mlocati/php-extension-installer:2)

# Debian's PHP and Apache with what the official image has around them: the folder of settings, the
# tools to compile with and their list. Debian's Composer is no single file, so its libraries are
# here and the stand-in for Composer's own image has the program alone.
make_php() {
  find_missing "${PHP_TAGS[@]}"
  if ((${#missing[@]})); then
    make_of_packages "${missing[@]}" -- apache2 libapache2-mod-php8.2 php8.2-cli php8.2-curl php8.2-mbstring \
      php8.2-opcache php8.2-readline php8.2-sqlite3 php8.2-xml composer libc-dev make re2c <<'DOCKERFILE'
ENV PHP_INI_DIR=/usr/local/etc/php PHP_INI_SCAN_DIR=:/usr/local/etc/php/conf.d PHPIZE_DEPS="libc-dev make re2c"
RUN mkdir -p /usr/local/etc/php/conf.d && cd /var && chmod 1777 run/apache2 lock/apache2 log/apache2 && apt-mark manual libapache2-mod-php8.2 php8.2-cli && apache2 -v && php --version
STOPSIGNAL SIGWINCH
WORKDIR /var/www/html
EXPOSE 80
CMD ["apache2", "-DFOREGROUND"]
DOCKERFILE
  fi
  find_missing "${COMPOSER_TAGS[@]}"
  if ((${#missing[@]})); then
    tag_all php:8.2-apache "${missing[@]}"
  fi
  find_missing "${EXTENSIONS_TAGS[@]}"
  ((${#missing[@]})) || return 0
  local context="$work/php-extensions"
  mkdir "$context"
  cat >"$context/install-php-extensions" <<'SCRIPT'
#!/bin/sh
# Debian's packages of the extensions, where the real one compiles them.
set -e
packages=
for name; do
  case $name in
    @*) continue ;;
    mysqli | pdo_mysql) name=mysql ;;
    pgsql | pdo_pgsql) name=pgsql ;;
    pcntl | opcache | exif | gettext | calendar | shmop | sockets | sysv*) continue ;;
  esac
  packages="$packages php8.2-$name"
done
[ -n "$packages" ] || exit 0
apt-get update -qq
# shellcheck disable=SC2086 # a list
apt-get install -y -qq --no-install-recommends $packages >/dev/null
rm -rf /var/lib/apt/lists/*
SCRIPT
  chmod 755 "$context/install-php-extensions"
  make_of_packages "${missing[@]}" -- <<'DOCKERFILE'
COPY install-php-extensions /usr/bin/
DOCKERFILE
}
