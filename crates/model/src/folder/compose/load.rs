//! From files to one tree: variables filled in, `include` and `extends`
//! followed.

use std::collections::{BTreeMap, BTreeSet};

use super::super::yaml::{self, Key, Node, Value};
use super::super::{Ask, Recorder};
use super::findings::Findings;
use super::{dotenv, interpolate};
use crate::manifest::{Report, shorten, value};

/// The largest Compose file, in bytes.
const MAX_FILE: usize = 512 * 1024;
/// The most bytes that variables may make of all texts.
const MAX_FILLED: usize = 4 * 1024 * 1024;
/// How deep files may include, and services extend, each other.
const MAX_CHAIN: usize = 20;
/// The file whose variables Compose reads by itself.
const DOT_ENV: &str = ".env";

/// The parts of a Compose file that hold things by name.
pub(super) const SECTIONS: [&str; 5] = ["services", "volumes", "networks", "secrets", "configs"];

/// Lists to which what extends a service adds.
const ADDED: &[&str] = &[
    "ports",
    "expose",
    "volumes",
    "secrets",
    "configs",
    "env_file",
    "dns",
    "dns_search",
    "devices",
    "cap_add",
    "cap_drop",
    "security_opt",
    "external_links",
    "links",
    "profiles",
    "tmpfs",
    "group_add",
];
/// What may be a list of `NAME=VALUE` or a table, and is merged by name.
const NAMED: &[&str] = &["environment", "labels", "args", "extra_hosts", "sysctls"];

/// All files, read.
pub(super) struct Loader<'a, 'r> {
    pub(super) recorder: &'r Recorder<'a>,
    pub(super) ask: &'r Ask<'r>,
    pub(super) findings: Findings,
    dot_env: BTreeMap<String, String>,
    /// The path of each file, as `findings` numbers them.
    paths: Vec<String>,
    filled: usize,
    /// Variables without a value that were mentioned.
    unset: BTreeSet<String>,
}

impl<'a, 'r> Loader<'a, 'r> {
    pub(super) fn new(recorder: &'r Recorder<'a>, ask: &'r Ask<'r>, path: &str) -> Self {
        let mut loader = Self {
            recorder,
            ask,
            findings: Findings::default(),
            dot_env: BTreeMap::new(),
            paths: Vec::new(),
            filled: 0,
            unset: BTreeSet::new(),
        };
        let file = join(folder_of(path), DOT_ENV).unwrap_or_else(|| DOT_ENV.to_owned());
        for (name, value) in loader.variables_of(&file, None).unwrap_or_default() {
            let value = value.or_else(|| loader.variable(&name)).unwrap_or_default();
            loader.dot_env.insert(name, value);
        }
        loader
    }

    /// A variable of the caller's environment, else of `.env`.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        if let Some(value) = (self.ask.variables)(name) {
            // Only what is used travels, and nothing else of the caller's.
            let mut words = self.recorder.words.borrow_mut();
            words.variables.insert(name.to_owned(), value.clone());
            return Some(value);
        }
        self.dot_env.get(name).cloned()
    }

    /// The variables of an `env_file`. `None`: there is no such file.
    pub(super) fn variables_of(
        &mut self,
        path: &str,
        at: Option<&Node>,
    ) -> Option<Vec<(String, Option<String>)>> {
        let text = match self.recorder.text(path) {
            Ok(text) => text?,
            Err(problems) => {
                self.findings.extend(problems);
                return Some(Vec::new());
            }
        };
        let read = dotenv::parse(&text);
        match read {
            Ok(variables) => Some(
                variables
                    .into_iter()
                    .map(|(name, value)| {
                        // In these, unlike elsewhere, what cannot be filled in
                        // is meant as it stands.
                        let mut lookup = |name: &str| self.variable(name);
                        let value = value.map(|value| {
                            interpolate::fill(&value, &mut lookup, &mut |_| {}).unwrap_or(value)
                        });
                        (name, value)
                    })
                    .collect(),
            ),
            Err(wrong) => {
                let mut report = Report::new(path, &text);
                let line = report.line_range(wrong.line.saturating_sub(1));
                // Never its text: a secret may stand in it.
                report.add(&(line.start..line.start), wrong.why.clone());
                if let Err(mut problems) = report.finish() {
                    for problem in &mut problems.0 {
                        problem.excerpt = String::new();
                        problem.offending = String::new();
                        problem.caret = 0;
                    }
                    problems
                        .0
                        .iter_mut()
                        .for_each(|p| p.file = self.recorder.shown(path));
                    self.findings.extend(problems);
                }
                let _ = at;
                Some(Vec::new())
            }
        }
    }

    /// A path that stands in a file, as one of the project's folder.
    pub(super) fn path(&mut self, node: &Node, what: &str) -> Option<String> {
        let text = node.text()?;
        let base = self
            .paths
            .get(node.file)
            .map(|path| folder_of(path))
            .unwrap_or_default();
        match join(base, text) {
            Some(path) => match value::check_inner_path(&path) {
                Ok(path) => Some(path),
                Err(why) => {
                    self.findings.invalid(node, what, why);
                    None
                }
            },
            None => {
                self.findings.mistake(
                    node,
                    format!(
                        "`{what}` must be a path inside the project's folder: what is outside does not travel"
                    ),
                );
                None
            }
        }
    }

    /// Reads a file and those that it includes.
    pub(super) fn read(&mut self, path: &str) -> Option<Node> {
        self.read_file(path, None, 0)
    }

    fn read_file(&mut self, path: &str, at: Option<&Node>, depth: usize) -> Option<Node> {
        let text = match self.recorder.text(path) {
            Ok(Some(text)) => text,
            Ok(None) => {
                let message = format!("there is no file `{}`", shorten(path));
                match at {
                    Some(node) => self.findings.mistake(node, message),
                    None => self
                        .findings
                        .extend(super::super::problem(&self.recorder.shown(path), message)),
                }
                return None;
            }
            Err(problems) => {
                self.findings.extend(problems);
                return None;
            }
        };
        let shown = self.recorder.shown(path);
        if text.len() > MAX_FILE {
            self.findings.extend(super::super::problem(
                &shown,
                format!(
                    "a Compose file may have {MAX_FILE} bytes at most, this one has {}",
                    text.len()
                ),
            ));
            return None;
        }
        let mut report = Report::new(&shown, &text);
        let node = yaml::read(&text, &mut report);
        let read = report.finish();
        let file = self.findings.file(shown.clone(), text);
        self.paths.push(path.to_owned());
        if let Err(problems) = read {
            self.findings.extend(problems);
            return None;
        }
        let Some(mut node) = node else {
            self.findings.extend(super::super::problem(
                &shown,
                "nothing stands in this file".to_owned(),
            ));
            return None;
        };
        node.set_file(file);
        self.fill(&mut node);
        if !matches!(node.value, Value::Map(_)) {
            self.findings
                .mistake(&node, format!("a Compose file is a table, not {}", node.kind()));
            return None;
        }
        if let Some(include) = node.get("include").cloned() {
            self.include(&mut node, &include, depth);
        }
        Some(node)
    }

    /// Fills the variables of every value in.
    fn fill(&mut self, node: &mut Node) {
        let file = node.file;
        match &mut node.value {
            Value::Null => {}
            Value::List(items) => items.iter_mut().for_each(|item| self.fill(item)),
            Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| self.fill(node)),
            Value::Scalar { text, .. } => {
                if !text.contains('$') {
                    return;
                }
                let mut unset = Vec::new();
                let filled = interpolate::fill(text, &mut |name| self.variable(name), &mut |name| {
                    unset.push(name.to_owned());
                });
                match filled {
                    Ok(filled) => {
                        self.filled += filled.len();
                        if self.filled > MAX_FILLED {
                            self.findings.at(
                                file,
                                &node.at,
                                "the variables here make more text than a Compose file may have",
                                None::<String>,
                            );
                            *text = String::new();
                        } else {
                            *text = filled;
                        }
                    }
                    Err(why) => self.findings.at(file, &node.at, why.0, None::<String>),
                }
                for name in unset {
                    if self.unset.insert(name.clone()) {
                        self.findings.note_at(
                            file,
                            &node.at,
                            format!(
                                "the variable `{}` is not set: nothing takes its place",
                                shorten(&name)
                            ),
                        );
                    }
                }
            }
        }
    }

    fn include(&mut self, node: &mut Node, include: &Node, depth: usize) {
        if depth >= MAX_CHAIN {
            self.findings
                .mistake(include, "files include each other without end");
            return;
        }
        let Value::List(items) = &include.value else {
            self.findings.wrong_kind(include, "include", "a list of files");
            return;
        };
        for item in items {
            let mut paths: Vec<Node> = Vec::new();
            match &item.value {
                Value::Map(entries) => {
                    for (key, value) in entries {
                        match (key.name.as_str(), &value.value) {
                            ("path", Value::List(several)) => paths.extend(several.iter().cloned()),
                            ("path", _) => paths.push(value.clone()),
                            (name, _) => self.findings.note(
                                value,
                                format!("`{}` of `include` is not carried over", shorten(name)),
                            ),
                        }
                    }
                }
                _ => paths.push(item.clone()),
            }
            for path in paths {
                if path.text().is_none() {
                    self.findings.wrong_kind(&path, "include", "a path");
                    continue;
                }
                let Some(file) = self.path(&path, "include") else {
                    continue;
                };
                let Some(included) = self.read_file(&file, Some(&path), depth + 1) else {
                    continue;
                };
                self.take_in(node, &included);
            }
        }
    }

    /// Puts what another file declares beside what this one does.
    fn take_in(&mut self, node: &mut Node, included: &Node) {
        for section in SECTIONS {
            let Some(more) = included.get(section) else {
                continue;
            };
            let Value::Map(root) = &mut node.value else { return };
            if !root.iter().any(|(key, _)| key.name == section) {
                let key = Key {
                    name: section.to_owned(),
                    at: more.at.clone(),
                };
                root.push((key, more.clone()));
                continue;
            }
            let Some((_, there)) = root.iter_mut().find(|(key, _)| key.name == section) else {
                continue;
            };
            let Value::Map(entries) = &mut there.value else {
                continue;
            };
            for (key, value) in more.entries() {
                if entries.iter().any(|(known, _)| known.name == key.name) {
                    self.findings.at(
                        value.file,
                        &key.at,
                        format!(
                            "`{}` of `{section}` is declared in another file too",
                            shorten(&key.name)
                        ),
                        None::<String>,
                    );
                } else {
                    entries.push((key.clone(), value.clone()));
                }
            }
        }
    }

    /// A service with all that it extends.
    pub(super) fn extended(&mut self, name: &str, service: &Node, services: &Node) -> Node {
        let mut chain = vec![(service.file, name.to_owned())];
        self.extend(service, services, &mut chain)
    }

    fn extend(&mut self, service: &Node, services: &Node, chain: &mut Vec<(usize, String)>) -> Node {
        let Some(extends) = service.get("extends").cloned() else {
            return service.clone();
        };
        let (name, file) = match &extends.value {
            Value::Scalar { text, .. } => (text.clone(), None),
            Value::Map(_) => (
                extends
                    .get("service")
                    .and_then(Node::text)
                    .unwrap_or_default()
                    .to_owned(),
                extends.get("file").cloned(),
            ),
            _ => {
                self.findings.wrong_kind(&extends, "extends", "a service");
                return service.clone();
            }
        };
        let other;
        let base_services = match file {
            None => services,
            Some(path) => {
                let Some(file) = self.path(&path, "extends") else {
                    return service.clone();
                };
                let Some(read) = self.read_file(&file, Some(&path), 1) else {
                    return service.clone();
                };
                other = read.get("services").cloned().unwrap_or(read);
                &other
            }
        };
        let Some(base) = base_services.get(&name) else {
            let names = base_services.entries().iter().map(|(key, _)| key.name.as_str());
            let near = crate::manifest::nearest(&name, names);
            self.findings.suggest(
                &extends,
                format!("there is no service `{}` to extend", shorten(&name)),
                near,
            );
            return service.clone();
        };
        let here = (base.file, name);
        if chain.contains(&here) || chain.len() >= MAX_CHAIN {
            self.findings
                .mistake(&extends, "services extend each other without end");
            return service.clone();
        }
        chain.push(here);
        let base = self.extend(base, base_services, chain);
        merged(&base, service)
    }

    pub(super) fn shown(&self, path: &str) -> String {
        self.recorder.shown(path)
    }
}

/// Lays what a service says over what it extends.
fn merged(base: &Node, over: &Node) -> Node {
    let mut out = over.clone();
    let Value::Map(entries) = &mut out.value else {
        return out;
    };
    for (key, value) in base.entries() {
        if key.name == "extends" {
            continue;
        }
        match entries.iter_mut().find(|(known, _)| known.name == key.name) {
            None => entries.push((key.clone(), value.clone())),
            Some((_, mine)) => *mine = merged_field(&key.name, value, mine),
        }
    }
    out
}

fn merged_field(name: &str, base: &Node, over: &Node) -> Node {
    if over.tag.as_deref() == Some("override") {
        return over.clone();
    }
    match (&base.value, &over.value) {
        _ if NAMED.contains(&name) => {
            // A list of both: the later of a name wins where it is read.
            let mut items = listed(base);
            items.extend(listed(over));
            Node {
                value: Value::List(items),
                ..over.clone()
            }
        }
        (Value::List(first), Value::List(then)) if ADDED.contains(&name) => {
            let mut items = first.clone();
            items.extend(
                then.iter()
                    .filter(|item| !first.iter().any(|f| f.value == item.value))
                    .cloned(),
            );
            Node {
                value: Value::List(items),
                ..over.clone()
            }
        }
        (Value::Map(_), Value::Map(_)) => {
            let mut out = over.clone();
            if let Value::Map(entries) = &mut out.value {
                for (key, value) in base.entries() {
                    match entries.iter_mut().find(|(known, _)| known.name == key.name) {
                        None => entries.push((key.clone(), value.clone())),
                        Some((_, mine)) => *mine = merged_field(&key.name, value, mine),
                    }
                }
            }
            out
        }
        _ => over.clone(),
    }
}

/// `NAME=VALUE` of each entry of a table; a list stays one.
fn listed(node: &Node) -> Vec<Node> {
    match &node.value {
        Value::List(items) => items.clone(),
        Value::Map(entries) => entries
            .iter()
            .map(|(key, value)| {
                let text = match value.text() {
                    Some(text) => format!("{}={text}", key.name),
                    None => key.name.clone(),
                };
                Node {
                    value: Value::Scalar { text, quoted: true },
                    ..value.clone()
                }
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// The folder that a file stands in.
fn folder_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// A path as seen from a folder; `None` where it leaves the project's folder.
pub(super) fn join(folder: &str, path: &str) -> Option<String> {
    if path.starts_with(['/', '~']) {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(if parts.is_empty() {
        ".".to_owned()
    } else {
        parts.join("/")
    })
}
