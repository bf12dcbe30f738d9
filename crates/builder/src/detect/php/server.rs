//! Apache with PHP in it: its settings, and PHP's own.

use bytes::Bytes;

use super::super::start::Start;
use crate::context::ExtraFile;

/// The files beside the Dockerfile.
pub(super) const APACHE: &str = "apache.conf";
pub(super) const PHP: &str = "php.ini";
/// Where they are in the image.
pub(super) const APACHE_IN_IMAGE: &str = "/etc/apache2/app.conf";
pub(super) const PHP_IN_IMAGE: &str = "/usr/local/etc/php/conf.d/zz-defaults.ini";
/// How many requests are answered at the same time, where nothing says it.
pub(super) const CONCURRENCY: &str = "20";

/// How it is started: the program itself, in the foreground.
pub(super) fn start() -> Start {
    Start::exec(&["apache2", "-f", APACHE_IN_IMAGE, "-DFOREGROUND"])
}

/// The files, for an app whose pages are in this folder of it (`""`: at the
/// top). `controller`: its index.php answers for every address that is no file.
pub(super) fn files(root: &str, controller: bool) -> Vec<ExtraFile> {
    vec![
        ExtraFile {
            path: APACHE.to_owned(),
            content: Bytes::from(apache(root, controller)),
        },
        ExtraFile {
            path: PHP.to_owned(),
            content: Bytes::from_static(SETTINGS.as_bytes()),
        },
    ]
}

/// Errors belong into the log and never into a page. `$_ENV` has the app's
/// variables, as frameworks expect.
const SETTINGS: &str = "expose_php = Off
display_errors = Off
log_errors = On
error_reporting = E_ALL & ~E_DEPRECATED
variables_order = EGPCS
upload_max_filesize = 64M
post_max_size = 64M
";

fn apache(root: &str, controller: bool) -> String {
    let folder = if root.is_empty() {
        "/app".to_owned()
    } else {
        format!("/app/{root}")
    };
    let fallback = if controller {
        "  FallbackResource /index.php\n"
    } else {
        ""
    };
    // At the top there is more than pages.
    let private = if root.is_empty() {
        "RedirectMatch 404 \"^/(composer\\.(json|lock)|package(-lock)?\\.json|Procfile|nonna\\.toml|Dockerfile|vendor/.*\\.php|(tests|node_modules)/.*|.*\\.(sql|sh|inc|bak|lock|dist))$\"\n"
    } else {
        ""
    };
    format!(
        "ServerRoot /etc/apache2
Include mods-enabled/*.load
<IfModule !rewrite_module>
  LoadModule rewrite_module /usr/lib/apache2/modules/mod_rewrite.so
</IfModule>
<IfModule !headers_module>
  LoadModule headers_module /usr/lib/apache2/modules/mod_headers.so
</IfModule>
Listen ${{PORT}}
ServerName localhost
PidFile /tmp/apache2.pid
DefaultRuntimeDir /tmp
ErrorLog /dev/stderr
ErrorLogFormat \"%M\"
LogLevel warn
ServerTokens Prod
ServerSignature Off
TraceEnable Off
StartServers 2
MinSpareServers 1
MaxSpareServers 3
ServerLimit ${{WEB_CONCURRENCY}}
MaxRequestWorkers ${{WEB_CONCURRENCY}}
MaxConnectionsPerChild 1000
TypesConfig /etc/mime.types
DirectoryIndex index.php index.html
FileETag Digest
<IfModule deflate_module>
  AddOutputFilterByType DEFLATE text/html text/css text/plain text/xml text/javascript application/javascript application/json application/xml image/svg+xml
</IfModule>
SetEnvIf X-Forwarded-Proto \"^https$\" HTTPS=on
RedirectMatch 404 \"/\\.(?!well-known(/|$))\"
{private}DocumentRoot {folder}
<Directory />
  AllowOverride None
  Require all denied
</Directory>
<Directory {folder}>
  AllowOverride All
  Require all granted
  Options FollowSymLinks
{fallback}</Directory>
<FilesMatch \"\\.php$\">
  SetHandler application/x-httpd-php
</FilesMatch>
<LocationMatch \"^/build/assets/\">
  Header set Cache-Control \"public, max-age=31536000, immutable\"
</LocationMatch>
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_folder_of_pages_is_served() {
        let public = apache("public", true);
        assert!(public.contains("DocumentRoot /app/public\n"), "{public}");
        assert!(public.contains("FallbackResource /index.php"), "{public}");
        assert!(!public.contains("composer"), "{public}");
        let top = apache("", false);
        assert!(top.contains("DocumentRoot /app\n"), "{top}");
        assert!(top.contains("composer"), "{top}");
        assert!(!top.contains("FallbackResource"), "{top}");
    }
}
