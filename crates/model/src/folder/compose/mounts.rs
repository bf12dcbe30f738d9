//! `volumes`, `secrets` and `configs` of a service: what it finds in its file
//! system.

use super::super::yaml::{Node, Value};
use super::load::Loader;
use super::service::Read;
use super::shared::Shared;
use crate::manifest::limits::MAX_VOLUMES;
use crate::manifest::{nearest, shorten, value};
use crate::name::Name;
use crate::service::{FileContent, FileMount, HostMount, VolumeMount};

/// The permissions of a secret's or config's file, where it has none.
const MODE: u32 = 0o444;
/// Where secrets are, by name.
const SECRETS: &str = "/run/secrets";

const OWN_FOLDER: &str = "a path beside the Compose file is on your machine, and the service is on another. Use a named \
                          volume for data (`data:/path`), `configs` for small files, or copy it into the image";

struct Mount {
    kind: String,
    source: Option<String>,
    target: String,
    read_only: bool,
}

pub(super) fn volumes(loader: &mut Loader<'_, '_>, shared: &Shared, node: &Node, read: &mut Read) {
    let Value::List(items) = &node.value else {
        if !matches!(node.value, Value::Null) {
            loader.findings.wrong_kind(node, "volumes", "a list");
        }
        return;
    };
    if items.len() > MAX_VOLUMES {
        loader
            .findings
            .mistake(node, format!("a service may have {MAX_VOLUMES} volumes at most"));
        return;
    }
    for item in items {
        let mount = match &item.value {
            Value::Scalar { text, .. } => short(text),
            Value::Map(_) => long(loader, item),
            _ => None,
        };
        let Some(mount) = mount else {
            loader.findings.mistake(
                item,
                "a volume is written `NAME:/path`, or as a table with `type`, `source` and `target`",
            );
            continue;
        };
        match mount.kind.as_str() {
            "volume" => volume(loader, shared, item, &mount, read),
            "tmpfs" => loader.findings.note(
                item,
                format!(
                    "a `tmpfs` is not carried over: {} is in the replica's own file system",
                    shorten(&mount.target)
                ),
            ),
            "bind" => host(loader, item, &mount, read),
            other => {
                let near = nearest(other, ["volume", "bind", "tmpfs"].iter());
                loader.findings.suggest(
                    item,
                    format!("a mount of the type `{}` is not known", shorten(other)),
                    near,
                );
            }
        }
    }
}

fn short(text: &str) -> Option<Mount> {
    let mut parts = text.split(':');
    let first = parts.next()?;
    let (source, target, options) = match (parts.next(), parts.next(), parts.next()) {
        (None, ..) => (None, first, ""),
        (Some(target), options, None) => (Some(first), target, options.unwrap_or_default()),
        _ => return None,
    };
    let is_path = |s: &str| s.starts_with(['.', '/', '~']) || s.contains('\\');
    Some(Mount {
        kind: if source.is_some_and(is_path) {
            "bind"
        } else {
            "volume"
        }
        .to_owned(),
        source: source.map(str::to_owned),
        target: target.to_owned(),
        read_only: options.split(',').any(|option| option == "ro"),
    })
}

fn long(loader: &mut Loader<'_, '_>, node: &Node) -> Option<Mount> {
    const KNOWN: [&str; 9] = [
        "type",
        "source",
        "target",
        "read_only",
        "bind",
        "volume",
        "tmpfs",
        "consistency",
        "image",
    ];
    for (key, value) in node.entries() {
        if !KNOWN.contains(&key.name.as_str()) && !key.name.starts_with("x-") {
            loader
                .findings
                .unknown(value.file, &key.at, &key.name, "a mount", KNOWN.into_iter());
        }
        if key.name == "volume" && value.get("subpath").is_some() {
            loader
                .findings
                .mistake(value, "a part of a volume (`subpath`) cannot be mounted");
        }
    }
    let text = |key: &str| node.get(key).and_then(Node::text).map(str::to_owned);
    Some(Mount {
        kind: text("type").unwrap_or_else(|| "volume".to_owned()),
        source: text("source"),
        target: text("target")?,
        read_only: text("read_only").as_deref() == Some("true"),
    })
}

fn volume(loader: &mut Loader<'_, '_>, shared: &Shared, node: &Node, mount: &Mount, read: &mut Read) {
    let path = match value::check_mount_path(&mount.target) {
        Ok(path) => path,
        Err(why) => {
            loader.findings.invalid(node, "target", why);
            return;
        }
    };
    if mount.read_only {
        loader.findings.note(
            node,
            "`ro` is not carried over: a service may write to its volumes",
        );
    }
    // One without a name is called after where it is.
    let called = mount.source.clone().unwrap_or_else(|| path.clone());
    let Some(name) = Name::slug(&called) else {
        loader.findings.mistake(
            node,
            format!("no volume's name can be made of `{}`", shorten(&called)),
        );
        return;
    };
    if let Some(source) = &mount.source {
        if !shared.volumes.contains(source) {
            let near = nearest(source, shared.volumes.iter());
            loader.findings.suggest(
                node,
                format!(
                    "the volume `{}` is not declared under the file's `volumes`",
                    shorten(source)
                ),
                near,
            );
            return;
        }
        read.volumes.push((source.clone(), node.clone()));
    }
    let on_host = read.service.host.mounts.iter().any(|known| known.path == path);
    let mounts = &mut read.service.volumes;
    if on_host || mounts.iter().any(|known| known.path == path) {
        loader
            .findings
            .mistake(node, format!("there is a volume at `{path}` already"));
    } else if mounts.iter().any(|known| known.name == name) {
        loader.findings.mistake(
            node,
            format!("the volume `{name}` can be at one path of a service only"),
        );
    } else {
        mounts.push(VolumeMount { name, path });
        mounts.sort_by(|a, b| a.name.cmp(&b.name));
    }
}

/// A path of the machine: the server's administrator says whether it is given.
fn host(loader: &mut Loader<'_, '_>, node: &Node, mount: &Mount, read: &mut Read) {
    let source = mount.source.as_deref().unwrap_or_default();
    if !source.starts_with('/') {
        loader.findings.mistake(node, OWN_FOLDER);
        return;
    }
    // The root itself is no path that a replica can have at another.
    let checked = value::check_mount_path(source)
        .map_err(|why| ("source", why))
        .and_then(|source| match value::check_mount_path(&mount.target) {
            Ok(path) => Ok((source, path)),
            Err(why) => Err(("target", why)),
        });
    let (source, path) = match checked {
        Ok(both) => both,
        Err((field, why)) => {
            loader.findings.invalid(node, field, why);
            return;
        }
    };
    let service = &mut read.service;
    let taken = service.volumes.iter().any(|known| known.path == path)
        || service.host.mounts.iter().any(|known| known.path == path);
    if taken {
        loader
            .findings
            .mistake(node, format!("there is a volume at `{path}` already"));
        return;
    }
    let owner = if source.ends_with("docker.sock") {
        "whoever has the container engine's socket has the machine"
    } else {
        "it is a path of the machine that the service runs on"
    };
    loader.findings.note(
        node,
        format!(
            "{} is mounted only on a server whose setting `allow_host_paths` has it: {owner}",
            shorten(&source)
        ),
    );
    service.host.mounts.push(HostMount {
        source,
        path,
        read_only: mount.read_only,
    });
}

/// An entry of `secrets` or `configs`: what, where, how.
struct Grant {
    source: String,
    target: Option<String>,
    mode: u32,
}

fn grants(loader: &mut Loader<'_, '_>, node: &Node, what: &str) -> Vec<(Grant, Node)> {
    const KNOWN: [&str; 5] = ["source", "target", "uid", "gid", "mode"];
    let Value::List(items) = &node.value else {
        if !matches!(node.value, Value::Null) {
            loader.findings.wrong_kind(node, what, "a list");
        }
        return Vec::new();
    };
    let mut out = Vec::new();
    for item in items {
        match &item.value {
            Value::Scalar { text, .. } => out.push((
                Grant {
                    source: text.clone(),
                    target: None,
                    mode: MODE,
                },
                item.clone(),
            )),
            Value::Map(entries) => {
                for (key, value) in entries {
                    match key.name.as_str() {
                        "uid" | "gid" => loader.findings.note(
                            value,
                            format!(
                                "`{}` of {what} is not carried over: the file belongs to root",
                                key.name
                            ),
                        ),
                        name if KNOWN.contains(&name) || name.starts_with("x-") => {}
                        name => loader.findings.unknown(
                            value.file,
                            &key.at,
                            name,
                            "an entry here",
                            KNOWN.into_iter(),
                        ),
                    }
                }
                let text = |key: &str| item.get(key).and_then(Node::text);
                let mode = match text("mode") {
                    None => Some(MODE),
                    Some(mode) => u32::from_str_radix(mode.trim_start_matches("0o"), 8).ok(),
                };
                match (text("source"), mode) {
                    (Some(source), Some(mode)) => out.push((
                        Grant {
                            source: source.to_owned(),
                            target: text("target").map(str::to_owned),
                            mode: mode & 0o777,
                        },
                        item.clone(),
                    )),
                    _ => loader
                        .findings
                        .mistake(item, "this needs a `source`, and a `mode` is written `0444`"),
                }
            }
            _ => loader.findings.wrong_kind(item, what, "a name or a table"),
        }
    }
    out
}

pub(super) fn secrets(loader: &mut Loader<'_, '_>, shared: &Shared, node: &Node, read: &mut Read) {
    for (grant, item) in grants(loader, node, "secrets") {
        let Some(secret) = shared.secrets.get(&grant.source) else {
            undeclared(loader, &item, &grant.source, "secrets", shared.secrets.keys());
            continue;
        };
        let target = grant.target.unwrap_or_else(|| grant.source.clone());
        let target = if target.starts_with('/') {
            target
        } else {
            format!("{SECRETS}/{target}")
        };
        if !read.service.required_secrets.contains(&secret.name) {
            read.service.required_secrets.push(secret.name.clone());
        }
        let content = FileContent::Secret {
            name: secret.name.clone(),
        };
        file(loader, &item, &target, content, grant.mode, read);
    }
}

pub(super) fn configs(loader: &mut Loader<'_, '_>, shared: &Shared, node: &Node, read: &mut Read) {
    for (grant, item) in grants(loader, node, "configs") {
        let Some(text) = shared.configs.get(&grant.source) else {
            undeclared(loader, &item, &grant.source, "configs", shared.configs.keys());
            continue;
        };
        let target = grant.target.unwrap_or_else(|| format!("/{}", grant.source));
        let content = FileContent::Text { text: text.clone() };
        file(loader, &item, &target, content, grant.mode, read);
    }
}

fn undeclared<'n>(
    loader: &mut Loader<'_, '_>,
    node: &Node,
    name: &str,
    section: &str,
    known: impl Iterator<Item = &'n String>,
) {
    let near = nearest(name, known);
    loader.findings.suggest(
        node,
        format!("`{}` is not declared under the file's `{section}`", shorten(name)),
        near,
    );
}

fn file(
    loader: &mut Loader<'_, '_>,
    node: &Node,
    target: &str,
    content: FileContent,
    mode: u32,
    read: &mut Read,
) {
    match value::check_mount_path(target) {
        Ok(path) if read.service.files.iter().any(|file| file.path == path) => loader
            .findings
            .mistake(node, format!("there is a file at `{path}` already")),
        Ok(path) => read.service.files.push(FileMount { path, content, mode }),
        Err(why) => loader.findings.invalid(node, "target", why),
    }
}
