//! The web server of pages that a build made: files, compressed, with their
//! types, and for single-page apps the one page for every address.
//!
//! Files that are served as they came need no build and stay with the smaller
//! server of `static_site`.

use bytes::Bytes;

use super::Settings;
use super::base_images::NGINX;
use super::start::Start;
use super::writer::{Writer, Written, overruled};
use crate::context::ExtraFile;

/// Where the configuration stands beside the Dockerfile, and in the image.
const CONFIG: &str = "nginx.conf";
/// The user that nginx's own image has for its workers.
const USER: &str = "101:101";

/// Pages that a build stage has made.
pub(super) struct Pages<'a> {
    /// The stage.
    pub(super) stage: &'a str,
    /// Their folder in it, absolute.
    pub(super) folder: &'a str,
    /// Every address that is no file is the one page's to understand.
    pub(super) single: bool,
    /// Folders in which every name has the hash of its content.
    pub(super) hashed: &'a [&'a str],
    /// Which rule decided that they are served so.
    pub(super) rule: String,
}

/// Ends the image with a web server of these pages; answers the file that
/// must stand beside the Dockerfile too.
pub(super) fn serve(mut writer: Writer<'_>, pages: Pages<'_>, port: u16) -> (Written, ExtraFile) {
    let text = port.to_string();
    writer
        // What tells browsers of a change is date and size, and all files of a
        // build context have the same date.
        .run(&[], &format!("find {} -type f -exec touch {{}} +", pages.folder))
        .final_stage(NGINX)
        .line(&format!("COPY {CONFIG} /etc/nginx/nginx.conf"))
        .copy_from(pages.stage, &format!("{}/", pages.folder), "/srv/", None)
        .environment(&[("PORT", &text)])
        // Its own would write files that this user may not write.
        .line("ENTRYPOINT []")
        .line("STOPSIGNAL SIGQUIT");
    let start = Start::exec(&["nginx", "-e", "/dev/stderr"]);
    let file = ExtraFile {
        path: CONFIG.to_owned(),
        content: Bytes::from(configuration(port, pages.single, pages.hashed)),
    };
    (writer.finish_as_is(USER, start, pages.rule), file)
}

/// The same for the site that a generator built in the stage `build`, in this
/// folder of the app's; what the user says goes first.
pub(super) fn serve_site(
    writer: Writer<'_>,
    settings: &Settings,
    folder: &str,
    generator: &str,
) -> (Written, ExtraFile) {
    let (folder, rule) = match &settings.overrides.output {
        Some(folder) => (folder.trim_matches('/'), overruled("output")),
        None => (folder, format!("the pages that {generator} builds")),
    };
    let pages = Pages {
        stage: "build",
        folder: &format!("/app/{folder}"),
        single: false,
        hashed: &[],
        rule,
    };
    serve(writer, pages, settings.port())
}

/// Folders of frameworks whose names say enough.
const HASHED: [&str; 4] = ["_next/static", "_nuxt", "_astro", "_app/immutable"];

fn configuration(port: u16, single: bool, hashed: &[&str]) -> String {
    let otherwise = if single { "/index.html" } else { "=404" };
    let hashed = [&HASHED, hashed].concat().join("|");
    format!(
        "daemon off;
worker_processes 1;
pid /tmp/nginx.pid;
error_log /dev/stderr warn;
events {{ worker_connections 1024; }}
http {{
  include /etc/nginx/mime.types;
  default_type application/octet-stream;
  types {{ text/javascript mjs; application/manifest+json webmanifest; application/wasm wasm; }}
  access_log off;
  server_tokens off;
  sendfile on;
  tcp_nopush on;
  gzip on;
  gzip_vary on;
  gzip_min_length 1024;
  gzip_types text/css text/javascript text/plain text/xml application/javascript application/json application/manifest+json application/xml image/svg+xml application/wasm;
  client_body_temp_path /tmp/nginx-body;
  proxy_temp_path /tmp/nginx-proxy;
  fastcgi_temp_path /tmp/nginx-fastcgi;
  uwsgi_temp_path /tmp/nginx-uwsgi;
  scgi_temp_path /tmp/nginx-scgi;
  server {{
    listen {port};
    root /srv;
    index index.html;
    absolute_redirect off;
    error_page 404 /404.html;
    location = /404.html {{ internal; }}
    location ~ /\\.(?!well-known/) {{ return 404; }}
    location ~ ^/({hashed})/ {{
      add_header Cache-Control \"public, max-age=31536000, immutable\";
      try_files $uri =404;
    }}
    location ~ \"(\\.[0-9a-f]{{8,64}}|-(?=[0-9]*[A-Z])[A-Z0-9]{{8}})\\.(js|css|map)$\" {{
      add_header Cache-Control \"public, max-age=31536000, immutable\";
      try_files $uri =404;
    }}
    location ~* \\.(js|mjs|css|map|wasm|png|jpe?g|gif|svg|webp|avif|ico|woff2?|ttf|otf|mp4|webm|mp3|pdf|zip|xml|webmanifest)$ {{
      add_header Cache-Control no-cache;
      try_files $uri =404;
    }}
    location / {{
      add_header Cache-Control no-cache;
      try_files $uri $uri/index.html $uri.html {otherwise};
    }}
  }}
}}
"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_single_page_apps_answer_every_address() {
        assert!(configuration(8080, true, &[]).contains("$uri.html /index.html;"));
        assert!(configuration(8080, false, &[]).contains("$uri.html =404;"));
        assert!(configuration(81, false, &[]).contains("listen 81;"));
        assert!(configuration(81, false, &["assets"]).contains("|_app/immutable|assets)/"));
    }
}
