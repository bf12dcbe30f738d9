//! What is wrong on this machine, and how to mend it.

mod checks;
mod clock;
mod machine;
mod network;

use std::sync::Arc;

use nonna_api::Finding;

use crate::http::App;

/// A finding that all is well.
fn ok(check: &str, message: impl Into<String>) -> Finding {
    finding(check, "ok", message, None)
}

/// A finding that is worth a look.
fn warning(check: &str, message: impl Into<String>, hint: impl Into<String>) -> Finding {
    finding(check, "warning", message, Some(hint.into()))
}

/// A finding that something does not work.
fn failed(check: &str, message: impl Into<String>, hint: impl Into<String>) -> Finding {
    finding(check, "failed", message, Some(hint.into()))
}

fn finding(check: &str, state: &str, message: impl Into<String>, hint: Option<String>) -> Finding {
    Finding {
        check: check.to_owned(),
        state: state.to_owned(),
        message: message.into(),
        hint,
    }
}

/// Looks at everything.
pub(crate) async fn examine(app: &Arc<App>) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(checks::engine(app).await);
    findings.push(checks::store(app).await);
    findings.extend(network::ports(&app.config));
    findings.extend(machine::disks(&app.config));
    findings.push(machine::memory());
    findings.push(machine::cgroups());
    findings.push(checks::builds(app).await);
    findings.extend(checks::git(app).await);
    findings.push(clock::synchronised());
    findings.extend(network::names(app).await);
    findings.extend(checks::certificates(app));
    findings.push(checks::replicas(app));
    findings
}
