//! The images that generated Dockerfiles begin from.

/// The releases of Python that are tried for a range such as `<3.13`; the
/// first one is what apps get that do not ask for one.
pub const PYTHONS: [&str; 6] = ["3.13", "3.12", "3.14", "3.11", "3.10", "3.9"];
/// The releases of Node.js with long support; the first one is what apps get
/// that do not ask for one.
pub const NODES: [&str; 4] = ["22", "24", "20", "18"];
/// What serves static files: its web server takes about 1 MB of memory and
/// starts at once.
pub const BUSYBOX: &str = "busybox:latest";

/// What serves the pages that a build made.
pub const NGINX: &str = "nginx:stable-alpine";

/// What is asked for where no release of Deno is.
pub const DENO: &str = "newest";

/// The image of a release of Deno.
#[must_use]
pub fn deno(version: &str) -> String {
    if version == DENO {
        "denoland/deno:debian".to_owned()
    } else {
        format!("denoland/deno:debian-{version}")
    }
}

/// The image of a release of Bun.
#[must_use]
pub fn bun(version: &str) -> String {
    format!("oven/bun:{version}-slim")
}

/// The image of a release of Python.
#[must_use]
pub fn python(version: &str) -> String {
    format!("python:{version}-slim")
}

/// The image of a release of Node.js.
#[must_use]
pub fn node(version: &str) -> String {
    format!("node:{version}-slim")
}

/// Every image that an app which asks for nothing is built from.
#[must_use]
pub fn defaults() -> Vec<String> {
    vec![python(PYTHONS[0]), node(NODES[0]), BUSYBOX.to_owned()]
}
