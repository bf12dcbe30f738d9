//! Why a service needs a new release, in words: the differences of two specs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use nonna_model::ServiceSpec;
use nonna_model::service::{HealthCheck, Resources, Source};

/// Every difference, one sentence each. Empty if and only if the specs are
/// equal. Values of variables are not shown: people put secrets into them.
pub(super) fn of(old: &ServiceSpec, new: &ServiceSpec) -> Vec<String> {
    // Taken apart so that a new field cannot be forgotten here.
    let ServiceSpec {
        source,
        push,
        folder,
        command,
        entrypoint,
        user,
        working_directory,
        port,
        protocol,
        routes,
        health,
        resources,
        restart,
        strategy,
        volumes,
        host,
        files,
        aliases,
        release,
        post_deploy,
        stop_timeout_ms,
        variables,
        secrets,
        withheld_secrets,
    } = new;
    let mut why = Vec::new();
    source_change(&mut why, &old.source, source);
    if old.push != *push {
        why.push(match push {
            Some(push) => format!("its images are pushed to {}", push.repository),
            None => "its images are no longer pushed".to_owned(),
        });
    }
    if old.folder != *folder {
        why.push("its source is in another folder".to_owned());
    }
    if old.command != *command {
        why.push("its command changed".to_owned());
    }
    if (&old.entrypoint, &old.user, &old.working_directory) != (entrypoint, user, working_directory) {
        why.push("how its image is started changed".to_owned());
    }
    if old.port != *port {
        let word = |p: Option<u16>| p.map_or_else(|| "none".to_owned(), |p| p.to_string());
        why.push(format!("port: {} → {}", word(old.port), word(*port)));
    }
    plain(&mut why, "protocol", &old.protocol, protocol);
    if old.routes != *routes {
        why.push("its routes changed".to_owned());
    }
    health_change(&mut why, &old.health, health);
    resources_change(&mut why, &old.resources, resources);
    plain(&mut why, "restart policy", &old.restart, restart);
    plain(&mut why, "strategy", &old.strategy, strategy);
    if old.volumes != *volumes {
        why.push("its volumes changed".to_owned());
    }
    if old.host != *host {
        why.push("what it gets of the machine changed".to_owned());
    }
    if old.files != *files {
        why.push("its files changed".to_owned());
    }
    if old.aliases != *aliases {
        why.push("the names that others reach it by changed".to_owned());
    }
    if old.release != *release {
        why.push("its release command changed".to_owned());
    }
    if old.post_deploy != *post_deploy {
        why.push("its post-deploy command changed".to_owned());
    }
    if old.withheld_secrets != *withheld_secrets {
        why.push("which secrets it is given changed".to_owned());
    }
    if old.stop_timeout_ms != *stop_timeout_ms {
        why.push(format!(
            "stop timeout: {} ms → {stop_timeout_ms} ms",
            old.stop_timeout_ms
        ));
    }
    keys(&mut why, "variable", &old.variables, variables);
    keys(&mut why, "secret", &old.secrets, secrets);
    why
}

fn plain<T: PartialEq + Debug>(why: &mut Vec<String>, what: &str, old: &T, new: &T) {
    if old != new {
        why.push(format!("{what}: {} → {}", lower(old), lower(new)));
    }
}

fn lower<T: Debug>(value: &T) -> String {
    format!("{value:?}").to_ascii_lowercase()
}

fn source_change(why: &mut Vec<String>, old: &Source, new: &Source) {
    match (old, new) {
        (old, new) if old == new => {}
        (Source::Image { reference: old }, Source::Image { reference: new }) => {
            why.push(format!("image: {old} → {new}"));
        }
        (Source::Build(old), Source::Build(new)) => {
            // Whatever decides what is built: a new field cannot be forgotten.
            let (mut old, new) = (old.inputs(), new.inputs());
            if old.context != new.context {
                why.push("its source changed".to_owned());
                old.context.clone_from(&new.context);
            }
            if old != new {
                why.push("how it is built changed".to_owned());
            }
        }
        (Source::Image { .. }, Source::Build(_)) => why.push("it is built from source now".to_owned()),
        (Source::Build(_), Source::Image { reference }) => {
            why.push(format!("it runs the image {reference} now"));
        }
    }
}

fn health_change(why: &mut Vec<String>, old: &HealthCheck, new: &HealthCheck) {
    if old != new {
        why.push("its health check changed".to_owned());
    }
}

fn resources_change(why: &mut Vec<String>, old: &Resources, new: &Resources) {
    if old.memory != new.memory {
        let word =
            |m: Option<nonna_model::units::Bytes>| m.map_or_else(|| "no limit".to_owned(), |m| m.to_string());
        why.push(format!("memory: {} → {}", word(old.memory), word(new.memory)));
    }
    if old.cpu_millis != new.cpu_millis {
        let word = |c: Option<u32>| {
            c.map_or_else(
                || "no limit".to_owned(),
                |c| format!("{}.{:03}", c / 1000, c % 1000),
            )
        };
        why.push(format!(
            "cpu: {} → {}",
            word(old.cpu_millis),
            word(new.cpu_millis)
        ));
    }
    if old.pids != new.pids {
        why.push(format!("pids: {} → {}", old.pids, new.pids));
    }
}

fn keys<V: PartialEq>(
    why: &mut Vec<String>,
    what: &str,
    old: &BTreeMap<String, V>,
    new: &BTreeMap<String, V>,
) {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        match (old.get(name), new.get(name)) {
            (None, Some(_)) => why.push(format!("{what} {name} was added")),
            (Some(_), None) => why.push(format!("{what} {name} was removed")),
            (Some(a), Some(b)) if a != b => why.push(format!("{what} {name} changed")),
            _ => {}
        }
    }
}
