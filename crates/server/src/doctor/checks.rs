//! What Nonna's own parts say.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nonna_api::Finding;

use super::{failed, ok, warning};
use crate::http::App;

/// How long the engine may take to answer.
const ENGINE_TIMEOUT: Duration = Duration::from_secs(5);
/// What the engine is slow at.
const SLOW: Duration = Duration::from_secs(1);
/// Certificates that end sooner should have been renewed.
const NEAR: i64 = 10 * 24 * 3600;

pub(super) async fn engine(app: &Arc<App>) -> Finding {
    const CHECK: &str = "container engine";
    let begun = Instant::now();
    match tokio::time::timeout(ENGINE_TIMEOUT, app.runtime.capabilities()).await {
        Ok(Ok(found)) if begun.elapsed() > SLOW => warning(
            CHECK,
            format!("{} answers, but took {} ms.", found.name, begun.elapsed().as_millis()),
            "The machine may be short of memory or disk bandwidth: look at `top` and `iostat`.",
        ),
        Ok(Ok(found)) if !(found.memory_limits && found.cpu_limits) => warning(
            CHECK,
            format!("{} answers, but does not honour limits.", found.name),
            "Boot the kernel with `cgroup_enable=memory swapaccount=1`.",
        ),
        Ok(Ok(found)) => ok(CHECK, format!("{} answers.", found.name)),
        Ok(Err(error)) => failed(
            CHECK,
            error.message,
            error.hint.unwrap_or_else(|| {
                "Start it: `systemctl start docker`. If it is not installed: https://docs.docker.com/engine/install/".to_owned()
            }),
        ),
        Err(_) => failed(
            CHECK,
            format!("The container engine does not answer within {} s.", ENGINE_TIMEOUT.as_secs()),
            "Restart it: `systemctl restart docker`. Services that run go on.",
        ),
    }
}

pub(super) async fn store(app: &Arc<App>) -> Finding {
    const CHECK: &str = "state";
    match app.store.check().await {
        Ok(()) => ok(CHECK, "Nonna's own state can be read and written."),
        Err(error) => failed(
            CHECK,
            error.message,
            error
                .hint
                .unwrap_or_else(|| "Restore a backup: `nonna restore`.".to_owned()),
        ),
    }
}

pub(super) fn certificates(app: &Arc<App>) -> Vec<Finding> {
    let now = jiff::Timestamp::now().as_second();
    app.edge
        .certificates()
        .into_iter()
        .map(|certificate| {
            let check = format!("certificate of {}", certificate.host);
            let why = certificate
                .error
                .as_ref()
                .map(|e| format!(" The last attempt failed: {e}"))
                .unwrap_or_default();
            let hint = "The host must point here, and ports 80 or 443 must be reached from the internet.";
            match certificate.expires {
                None => failed(&check, format!("There is none yet.{why}"), hint),
                Some(at) if at <= now => failed(&check, format!("It has expired.{why}"), hint),
                Some(at) if at - now < NEAR => warning(
                    &check,
                    format!(
                        "It ends in {} days and was not renewed.{why}",
                        (at - now) / 86_400
                    ),
                    hint,
                ),
                Some(at) => ok(&check, format!("It is good for {} days.", (at - now) / 86_400)),
            }
        })
        .collect()
}

pub(super) fn replicas(app: &Arc<App>) -> Finding {
    const CHECK: &str = "replicas";
    match app.deployments.unhealthy() {
        0 => ok(CHECK, "None fails its health check."),
        count => warning(
            CHECK,
            format!("{count} fail their health check and get no requests."),
            "`nonna status` shows which, `nonna logs` why.",
        ),
    }
}

/// Whether the server can be pushed to; nothing where it keeps no repositories.
pub(super) async fn git(app: &Arc<App>) -> Option<Finding> {
    const CHECK: &str = "git";
    let git = app.git.as_ref()?;
    Some(match git.version().await {
        Ok(version) => ok(CHECK, format!("{version} takes pushes.")),
        Err(error) => warning(
            CHECK,
            format!(
                "{} `git push nonna` and deploys from forges do not work.",
                error.message
            ),
            error
                .hint
                .unwrap_or_else(|| "Install it on the server's machine: `apt-get install git`.".to_owned()),
        ),
    })
}

/// Whether builds can starve what serves.
pub(super) async fn builds(app: &Arc<App>) -> Finding {
    const CHECK: &str = "builds";
    let limits = tokio::time::timeout(ENGINE_TIMEOUT, app.build_limits.state());
    match limits.await {
        Ok(Ok(words)) => ok(
            CHECK,
            format!(
                "{} at a time; their steps get at most {words}.",
                app.builds.limit()
            ),
        ),
        Ok(Err(why)) => warning(
            CHECK,
            format!(
                "{} at a time, without limits on processor time and memory: {why}.",
                app.builds.limit()
            ),
            "A build may slow down what serves. Limits need Nonna as root on the machine of a Docker Engine, and the setting `build.engine_cgroup` where the engine has another group than `docker`.",
        ),
        Err(_) => warning(
            CHECK,
            "Whether their limits hold is not known: the container engine does not answer.",
            "See the finding about the container engine.",
        ),
    }
}
