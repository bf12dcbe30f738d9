//! A deployment from its beginning to its end, with Ctrl-C.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use nonna_api::DeploymentAnswer;
use nonna_client::{Client, Item, Place};
use nonna_engine::event::{Event, EventKind, Outcome};
use nonna_engine::{Code, Error};
use serde::Serialize;

use super::progress::Progress;
use super::words::{self, Steps};
use crate::args::FollowArgs;
use crate::commands::Context;
use crate::fail::{Failure, Result};
use crate::output::units::millis;
use crate::output::{Paint, clean};
use crate::terminal::Interrupts;

/// The first line of `--json`: what was begun.
#[derive(Serialize)]
struct Accepted<'a> {
    event: &'static str,
    deployment: &'a str,
    at: i64,
    answer: &'a DeploymentAnswer,
}

/// The last line of `--json`: how it ended.
#[derive(Serialize)]
struct Ended<'a> {
    event: &'static str,
    deployment: &'a str,
    at: i64,
    state: &'a str,
    changed: bool,
    urls: &'a BTreeMap<String, Vec<String>>,
}

/// Tells of a deployment until it ends, or returns at once.
pub(crate) async fn follow(
    context: &Context,
    client: &Client,
    answer: DeploymentAnswer,
    args: FollowArgs,
) -> Result {
    let printer = &context.printer;
    if printer.is_json() {
        printer.json_line(&Accepted {
            event: "accepted",
            deployment: &answer.id,
            at: answer.created_at,
            answer: &answer,
        });
    }
    if answer.plan.is_empty() {
        nothing_to_do(context, client, answer).await;
        return Ok(());
    }
    if args.detach {
        if !printer.is_json() {
            printer.note(&format!(
                "It goes on by itself; `nonna status` shows it. The deployment is {}.",
                answer.id
            ));
            printer.line(&clean(&answer.id));
        }
        return Ok(());
    }
    let watched = watch(context, client, &answer).await?;
    conclude(context, client, &answer, watched).await
}

/// The same for answers that may have begun nothing.
pub(crate) async fn take(
    context: &Context,
    client: &Client,
    answer: Option<DeploymentAnswer>,
    args: FollowArgs,
    otherwise: &str,
) -> Result {
    match answer {
        Some(answer) => follow(context, client, answer, args).await,
        None => {
            if context.printer.is_json() {
                context.printer.json(&serde_json::json!({ "deployment": null }));
            } else {
                context.printer.note(otherwise);
            }
            Ok(())
        }
    }
}

async fn nothing_to_do(context: &Context, client: &Client, mut answer: DeploymentAnswer) {
    let printer = &context.printer;
    // A plan without steps need not name what runs: the deployments before do.
    let mut running = words::releases(&answer.plan);
    if running.is_none() || answer.urls.is_empty() {
        let place = Place::new(&answer.project, &answer.environment);
        let (current, urls) = words::current(client, &place).await;
        running = running.or(current);
        for (service, reached) in urls {
            answer.urls.entry(service).or_insert(reached);
        }
    }
    if printer.is_json() {
        return ended(context, &answer, "succeeded", &answer.urls);
    }
    let environment = clean(&answer.environment);
    printer.note(&match running {
        Some(releases) => format!("Nothing to do: {environment} runs {} already.", clean(&releases)),
        None => format!("Nothing to do: {environment} is as it should be."),
    });
    urls(context, &answer.urls, &BTreeMap::new());
}

/// What was seen of a deployment.
struct Watched {
    outcome: Outcome,
    /// The last answer to a health check, by service.
    answers: BTreeMap<String, String>,
    took: i64,
}

async fn watch(context: &Context, client: &Client, answer: &DeploymentAnswer) -> Result<Watched> {
    let steps = Steps::of(&answer.plan);
    let mut progress = Progress::new(&context.printer, &answer.plan);
    let mut events = client.deployment_events(&answer.id);
    let mut interrupts = Interrupts::listen()?;
    type Cancelling<'a> = Pin<Box<dyn Future<Output = Result<(), Error>> + 'a>>;
    let mut cancelling: Option<Cancelling<'_>> = None;
    let mut asked_to_cancel = false;
    let mut answers = BTreeMap::new();
    loop {
        tokio::select! {
            item = events.next() => {
                let item = item.inspect_err(|_| progress.end())?;
                let Some(item) = item else {
                    progress.end();
                    return Err(Error::bug("The deployment's events ended without saying how it ended.").into());
                };
                match item {
                    Item::Value(event) => {
                        progress.event(&event);
                        if let Some(outcome) = note(&steps, &event, &mut answers) {
                            progress.end();
                            return Ok(Watched {
                                outcome,
                                answers,
                                took: (event.at - answer.created_at).max(0),
                            });
                        }
                    }
                    Item::Lost(error) => progress.note(&format!("{} Trying again…", error.message)),
                    Item::Back => progress.note("The server is back."),
                }
            }
            () = interrupts.next() => {
                if std::mem::replace(&mut asked_to_cancel, true) {
                    progress.end();
                    context.printer.note(
                        "Detached: the server goes on cancelling by itself; `nonna status` shows how it ends.",
                    );
                    return Err(Failure::Told);
                }
                progress.note("Cancelling: what was done is being undone. Ctrl-C again leaves that to the server.");
                cancelling = Some(Box::pin(client.cancel_deployment(&answer.id)));
            }
            done = settle(&mut cancelling) => {
                cancelling = None;
                if let Err(error) = done {
                    progress.note(&if error.code == Code::Conflict {
                        "Too late to cancel: the new release is committed. Going on.".to_owned()
                    } else {
                        format!("It could not be cancelled: {}", error.message)
                    });
                }
            }
        }
    }
}

/// Waits for a future that may not be there; without one, for ever.
async fn settle<F: Future + Unpin>(future: &mut Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

/// Keeps what the result tells; the outcome, when it is over.
fn note(steps: &Steps, event: &Event, answers: &mut BTreeMap<String, String>) -> Option<Outcome> {
    match &event.kind {
        EventKind::ReplicaHealthy { step, answer, .. } => {
            if let Some(service) = steps.service(*step) {
                answers.insert(service.to_owned(), answer.clone());
            }
            None
        }
        EventKind::Finished { outcome } => Some(outcome.clone()),
        _ => None,
    }
}

async fn conclude(context: &Context, client: &Client, answer: &DeploymentAnswer, watched: Watched) -> Result {
    let printer = &context.printer;
    let (state, error) = match watched.outcome {
        Outcome::Succeeded => ("succeeded", None),
        Outcome::RolledBack { error } => ("rolled_back", Some(error)),
        Outcome::Failed { error } => ("failed", Some(error)),
    };
    let Some(error) = error else {
        // Routes may have come to be that were not known at the start.
        let reached = client
            .deployment(&answer.id)
            .await
            .map_or_else(|_| answer.urls.clone(), |now| now.urls);
        if printer.is_json() {
            ended(context, answer, state, &reached);
            return Ok(());
        }
        let what = match answer.kind.as_str() {
            "destroy" => String::new(),
            _ => words::releases(&answer.plan).map_or_else(String::new, |releases| format!(" {releases}")),
        };
        let took = millis(u64::try_from(watched.took).unwrap_or_default());
        printer.note(&format!(
            "{} {}/{}{what} in {took}.",
            printer.paint_err(Paint::Good, words::done(&answer.kind)),
            clean(&answer.project),
            clean(&answer.environment),
        ));
        if answer.kind != "destroy" {
            urls(context, &reached, &watched.answers);
        }
        return Ok(());
    };
    if printer.is_json() {
        ended(context, answer, state, &answer.urls);
        return Err(Failure::Told);
    }
    printer.error(&error);
    let still = match (state, words::previous(&answer.plan)) {
        ("failed", _) => Some("What was done stays; the same command goes on from there.".to_owned()),
        (_, Some(releases)) => Some(format!(
            "Nothing changed for your users: {} goes on serving.",
            clean(&releases)
        )),
        (_, None) => Some("Everything it had begun was removed again.".to_owned()),
    };
    if let Some(still) = still {
        printer.note(&still);
    }
    Err(Failure::Told)
}

fn ended(context: &Context, answer: &DeploymentAnswer, state: &str, urls: &BTreeMap<String, Vec<String>>) {
    context.printer.json_line(&Ended {
        event: "ended",
        deployment: &answer.id,
        at: crate::output::units::now(),
        state,
        changed: state == "succeeded" && !answer.plan.is_empty(),
        urls,
    });
}

/// The result: where the services are reached, and what they answered.
fn urls(context: &Context, reached: &BTreeMap<String, Vec<String>>, answers: &BTreeMap<String, String>) {
    let printer = &context.printer;
    let width = reached.keys().map(String::len).max().unwrap_or_default();
    for (service, urls) in reached {
        for url in urls {
            if printer.is_quiet() {
                printer.line(&clean(url));
                continue;
            }
            let name = printer.paint(Paint::Strong, &format!("{service:width$}"));
            let answer = answers
                .get(service)
                .map(|answer| format!("  {}", printer.paint(Paint::Dim, answer)))
                .unwrap_or_default();
            printer.line(&format!("  {name}  {}{answer}", clean(url)));
        }
    }
}
