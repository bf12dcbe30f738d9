//! `nonna git connect`

use nonna_api::git::{ConnectAnswer, ConnectRequest, ConnectionAnswer};

use crate::args::GitConnectArgs;
use crate::commands::{Context, read_value};
use crate::fail::{Failure, Result};
use crate::output::clean;
use crate::project::place_here;

/// Where a forge has what is to be entered, and what it calls it.
struct Forms {
    name: &'static str,
    webhook: &'static str,
    /// The fields beside address and secret.
    fields: &'static [(&'static str, &'static str)],
    address: &'static str,
    secret: &'static str,
    key: &'static str,
    token: &'static str,
}

fn forms(forge: &str) -> Forms {
    match forge {
        "github" => Forms {
            name: "GitHub",
            webhook: "Settings → Webhooks → Add webhook",
            address: "Payload URL",
            secret: "Secret",
            fields: &[
                ("Content type", "application/json"),
                ("Events", "Just the push event"),
            ],
            key: "Settings → Deploy keys → Add deploy key, without write access",
            token: "a fine-grained token with `Commit statuses: write` (and `Contents: read` over https)",
        },
        "gitlab" => Forms {
            name: "GitLab",
            webhook: "Settings → Webhooks → Add new webhook",
            address: "URL",
            secret: "Secret token",
            fields: &[("Trigger", "Push events")],
            key: "Settings → Repository → Deploy keys, without write permissions",
            token: "a project access token of the role Developer with the scope `api`",
        },
        "bitbucket" => Forms {
            name: "Bitbucket",
            webhook: "Repository settings → Webhooks → Add webhook",
            address: "URL",
            secret: "Secret",
            fields: &[("Triggers", "Repository push")],
            key: "Repository settings → Access keys → Add key",
            token: "a repository access token with `repository:write`",
        },
        _ => Forms {
            name: "Gitea or Forgejo",
            webhook: "Settings → Webhooks → Add webhook → Gitea (or Forgejo)",
            address: "Target URL",
            secret: "Secret",
            fields: &[
                ("Content type", "application/json"),
                ("Trigger on", "Push events"),
            ],
            key: "Settings → Deploy keys → Add deploy key, without write access",
            token: "a token with `repository: read and write`",
        },
    }
}

/// Connects a repository and prints what is to be entered at the forge.
pub(crate) async fn connect(context: &Context, args: GitConnectArgs) -> Result {
    let place = place_here(&context.global)?;
    let client = context.client()?;
    let token = if args.token {
        let token = read_value(
            &context.printer,
            &format!("Token for {}", clean(&args.repository)),
        )?;
        if token.is_empty() {
            return Err(Failure::usage_hint(
                "The token is empty.",
                "It is read from standard input where nobody can be asked: `… | nonna git connect … --token`.",
            ));
        }
        Some(token)
    } else {
        None
    };
    let request = ConnectRequest {
        repository: args.repository,
        branch: args.branch,
        environment: place.environment,
        services: args.service.iter().map(ToString::to_string).collect(),
        forge: args.forge.map(|forge| forge.as_str().to_owned()),
        api: args.api,
        token,
        new_secret: args.new_secret,
    };
    let mut answer = client.connect_forge(&place.project, &request).await?;
    let knows = answer.connection.webhook_url.is_some();
    if !knows {
        let options = context.server_options()?;
        let base = options.address().trim_end_matches('/');
        answer.connection.webhook_url = Some(format!("{base}{}", answer.connection.webhook_path));
    }
    if context.printer.is_json() {
        context.printer.json(&answer);
        return Ok(());
    }
    tell(context, &answer, &request);
    if !knows {
        context.printer.note(
            "The forge must reach that address. To have it reach the server by a host of its own, with a certificate, set `webhooks = \"hooks.example.org\"` on the server.",
        );
    }
    Ok(())
}

fn tell(context: &Context, answer: &ConnectAnswer, request: &ConnectRequest) {
    let printer = &context.printer;
    let connection = &answer.connection;
    let services = if request.services.is_empty() {
        String::new()
    } else {
        format!(" ({})", request.services.join(", "))
    };
    printer.line(&format!(
        "{}: {} is deployed to {}/{}{services}.",
        clean(&connection.repository),
        clean(&request.branch),
        connection.project,
        request.environment
    ));
    let forms = forms(&connection.forge);
    match &answer.secret {
        Some(secret) => {
            printer.line("");
            printer.line(&format!("Enter at {}, under {}:", forms.name, forms.webhook));
            let url = connection.webhook_url.as_deref().unwrap_or_default();
            let mut rows = vec![(forms.address, url), (forms.secret, secret.as_str())];
            rows.extend(forms.fields);
            let width = rows.iter().map(|(name, _)| name.len()).max().unwrap_or_default();
            for (name, value) in rows {
                printer.line(&format!("  {name:width$}  {}", clean(value)));
            }
            printer.line("The secret is shown this once; --new-secret makes another.");
            key(context, connection, &forms);
        }
        None => printer.note("Its webhook, secret and deploy key are those that the forge has already."),
    }
    if !connection.has_token {
        printer.note(&format!(
            "Without a token the forge is told nothing of deployments. To show them at the commits, call this again with --token and {}.",
            forms.token
        ));
    }
}

fn key(context: &Context, connection: &ConnectionAnswer, forms: &Forms) {
    let printer = &context.printer;
    if let Some(key) = &connection.public_key {
        printer.line("");
        printer.line(&format!("and under {}:", forms.key));
        printer.line(&format!("  {}", clean(key)));
    } else if !connection.has_token {
        printer.note("It is fetched without a token: that does for a public repository only.");
    }
    printer.note("Then deploy it for the first time: push, or `nonna git deploy`.");
}
