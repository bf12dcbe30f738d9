//! `nonna status`

use nonna_api::{EnvironmentAnswer, ReplicaAnswer, ServiceAnswer};

use crate::commands::Context;
use crate::fail::Result;
use crate::output::units::{ago, bytes, now};
use crate::output::{Paint, Table, clean};
use crate::project::place_here;

/// Shows the services of the environment and how they are.
pub(crate) async fn status(context: &Context) -> Result {
    let place = place_here(&context.global)?;
    let environment = context.client()?.environment(&place).await?;
    if context.printer.is_json() {
        context.printer.json(&environment);
        return Ok(());
    }
    show(context, &environment);
    Ok(())
}

fn show(context: &Context, environment: &EnvironmentAnswer) {
    let printer = &context.printer;
    let place = format!("{}/{}", environment.project, environment.environment);
    printer.line(&printer.paint(Paint::Strong, &place));
    if let Some(deployment) = &environment.deployment {
        printer.line(&printer.paint(
            Paint::Notice,
            &format!("The deployment {deployment} is under way."),
        ));
    }
    if environment.services.is_empty() {
        printer.line("There is no service yet: `nonna deploy`.");
    }
    for service in &environment.services {
        printer.line("");
        show_service(context, service);
    }
}

fn show_service(context: &Context, service: &ServiceAnswer) {
    let printer = &context.printer;
    let paint = match service.state.as_str() {
        "running" => Paint::Good,
        "down" => Paint::Bad,
        "degraded" => Paint::Notice,
        _ => Paint::Dim,
    };
    let running = service
        .running
        .iter()
        .filter(|replica| replica.state == "running")
        .count();
    printer.line(&format!(
        "{}  {}  {}  {}  {}",
        printer.paint(Paint::Strong, &service.name),
        printer.paint(paint, &service.state.replace('_', " ")),
        clean(service.release.as_deref().unwrap_or("no release")),
        format_args!("{running}/{} replicas", service.replicas),
        printer.paint(Paint::Dim, &service.source),
    ));
    for url in &service.urls {
        printer.line(&format!("  {}", clean(url)));
    }
    if !service.volumes.is_empty() {
        printer.line(&format!("  volumes: {}", clean(&service.volumes.join(", "))));
    }
    if service.running.is_empty() {
        return;
    }
    let mut table = Table::new(&[
        "  REPLICA",
        "RELEASE",
        "STATE",
        "SINCE",
        "RESTARTS",
        "MEMORY",
        "CPU",
    ]);
    let now = now();
    for replica in &service.running {
        table.row([
            format!("  {}", replica.index),
            replica.release.clone(),
            replica.state.clone(),
            replica.started_at.map(|at| ago(at, now)).unwrap_or_default(),
            replica.restarts.to_string(),
            memory(replica),
            replica.cpu_micros.map(cpu).unwrap_or_default(),
        ]);
    }
    printer.table(&table);
}

fn memory(replica: &ReplicaAnswer) -> String {
    match (replica.memory, replica.memory_limit) {
        (Some(used), Some(limit)) => format!("{} of {}", bytes(used), bytes(limit)),
        (Some(used), None) => bytes(used),
        (None, Some(limit)) => format!("? of {}", bytes(limit)),
        (None, None) => String::new(),
    }
}

/// Processor time used: `4.2 s`.
fn cpu(micros: u64) -> String {
    crate::output::units::millis(micros / 1000)
}
