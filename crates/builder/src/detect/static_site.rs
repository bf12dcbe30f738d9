//! Folders of files that are served as they are.

use bytes::Bytes;
use nonna_engine::Result;

use super::base_images::BUSYBOX;
use super::start::Start;
use super::tree::Tree;
use super::writer::{Writer, overruled};
use super::{Detector, Plan, Reference, SOURCE_FOLDER, Settings, Sign, Strength, incomplete};
use crate::context::ExtraFile;

/// Where pages are looked for; the first one that has an `index.html`.
const FOLDERS: [&str; 6] = ["", "public", "dist", "build", "_site", "site"];
const CONFIG: &str = "httpd.conf";

/// The web server's own list is from another time.
const MIME_TYPES: &[(&str, &str)] = &[
    ("avif", "image/avif"),
    ("css", "text/css"),
    ("csv", "text/csv"),
    ("html", "text/html"),
    ("htm", "text/html"),
    ("ico", "image/x-icon"),
    ("js", "text/javascript"),
    ("json", "application/json"),
    ("map", "application/json"),
    ("md", "text/markdown"),
    ("mjs", "text/javascript"),
    ("mp4", "video/mp4"),
    ("otf", "font/otf"),
    ("pdf", "application/pdf"),
    ("svg", "image/svg+xml"),
    ("ttf", "font/ttf"),
    ("txt", "text/plain"),
    ("wasm", "application/wasm"),
    ("webm", "video/webm"),
    ("webmanifest", "application/manifest+json"),
    ("webp", "image/webp"),
    ("woff", "font/woff"),
    ("woff2", "font/woff2"),
    ("xml", "text/xml"),
];

/// An `index.html`.
pub(super) struct StaticSite;

fn folder(tree: &Tree<'_>) -> Option<(&'static str, String)> {
    FOLDERS.iter().find_map(|folder| {
        let path = join(folder, "index.html");
        tree.has(&path).then_some((*folder, path))
    })
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

impl Detector for StaticSite {
    fn name(&self) -> &'static str {
        "static"
    }

    fn looks_for(&self) -> &'static str {
        "index.html, at the top or in public/, dist/, build/, _site/ or site/"
    }

    fn reference(&self) -> Reference {
        Reference {
            title: "Static sites",
            start: vec!["the web server of busybox, with the folder".to_owned()],
            images: format!("`{BUSYBOX}` alone: about 1 MB of memory."),
            notes: vec![
                "A `404.html` is the page for what is not there.".to_owned(),
                "Files whose names begin with a dot are not served.".to_owned(),
            ],
            ..Reference::default()
        }
    }

    fn sign(&self, tree: &Tree<'_>) -> Result<Option<Sign>> {
        Ok(folder(tree).map(|(_, path)| Sign::new(Strength::Files, path)))
    }

    fn plan(&self, tree: &Tree<'_>, settings: &Settings) -> Result<Plan> {
        let said = settings.overrides.output.as_deref();
        let (folder, path) = said
            .map(|folder| {
                (
                    if folder == "." { "" } else { folder },
                    join(folder, "index.html"),
                )
            })
            .or_else(|| folder(tree))
            .ok_or_else(|| incomplete("There is no index.html.", "Add one, or a Dockerfile."))?;
        let source = join(SOURCE_FOLDER, folder);
        let source = source.trim_end_matches('/');
        let mut config = String::new();
        if tree.has(&join(folder, "404.html")) {
            config.push_str("E404:/srv/404.html\n");
        }
        for (ending, kind) in MIME_TYPES {
            config.push_str(&format!(".{ending}:{kind}\n"));
        }
        let port = settings.port().to_string();
        let mut writer = Writer::new(settings);
        writer
            .final_stage(BUSYBOX)
            .line(&format!("COPY {CONFIG} /etc/httpd.conf"))
            .line(&format!("COPY {source}/ /srv/"))
            .environment(&[("PORT", &port)]);
        let start = Start::Shell("httpd -f -p $PORT -h /srv -c /etc/httpd.conf".to_owned());
        let rule = said.map_or_else(
            || "the files are served as they are".to_owned(),
            |_| overruled("output"),
        );
        let written = writer.finish("65534:65534", start, rule);
        let mut plan = Plan::new(self.name(), path, written);
        plan.files = vec![ExtraFile {
            path: CONFIG.to_owned(),
            content: Bytes::from(config),
        }];
        // `.env` and the like are nobody's pages.
        plan.without_hidden = true;
        Ok(plan)
    }
}
