//! The reference of the manifest, in Markdown.

use super::fields::{BUILD, ENVIRONMENT, Field, HEALTH, SERVICE, TOP};

const BEGIN: &str = "\
<!-- Made from the table of fields in crates/model/src/manifest/fields.rs by
     `cargo run -p nonna-model --example manifest-docs`. Edits here are lost. -->

# nonna.toml

The manifest stands in the project's folder. All of it is optional: a folder
with a Dockerfile, or in a language that Nonna detects, deploys without one, as
one service `web`.

```toml
project = \"shop\"

[services.web]
domains = [\"shop.example.org\"]
health = \"/healthz\"
replicas = 2
secrets = [\"DATABASE_URL\"]

[services.worker]
command = \"bin/worker\"
port = false

[services.cache]
image = \"redis:7\"
port = 6379
health = { tcp = true }
volumes = { data = \"/data\" }

[environments.staging.services.web]
replicas = 1
domains = [\"staging.shop.example.org\"]
```

Every mistake is reported at once, each with its line, the text that is wrong
and, where it can be guessed, what was meant. For completion and checks while
you type, point your editor at [nonna.schema.json](nonna.schema.json).

";

const END: &str = "\
## Which value holds

The nearest wins: a variable of a service over one of its environment, that
over one of the project; and within one of them, what stands under
`[environments.…]` over what holds everywhere. Variables set by hand (`nonna
env set`) win over those of the manifest, so that whoever runs a service has the
last word; a secret wins over a variable of the same name.

In an environment's services, `variables`, `build_arguments`, `volumes` and
`build` are merged key by key; every other field replaces the service's own, lists and
`health` as a whole. An `image` there takes the place of `source` and what
belongs to it, and the reverse.

## Volumes and roll-outs

By default new replicas start before the old ones stop, and no request is lost.
For a time both run, and both have the service's volumes: a database that finds
its files in use refuses to start, or spoils them. So a service with an `image`
and `volumes` is recreated by default: its old replicas stop before new ones
start. A service that is built and has volumes rolls, because an application
that stores files bears it; say `strategy = \"recreate\"` if yours does not.

## Amounts

Memory has a unit: `\"512MB\"`, `\"1.5GiB\"`; `KB`, `MB`, `GB`, `TB` are powers of
1,000, `KiB`, `MiB`, `GiB`, `TiB` of 1,024. Durations are whole numbers of `ms`,
`s`, `m` or `h`: `\"500ms\"`, `\"5m\"`. Names have 1 to 40 characters of `a-z`, `0-9`
and `-`, begin with a letter and do not end with `-`. Variables are called as in
a shell: letters, digits and `_`, no digit first; a value may have 32 KiB. The
file may have 256 KiB.
";

/// The reference as it stands in `docs/manifest.md`.
#[must_use]
pub fn reference_markdown() -> String {
    let mut out = BEGIN.to_owned();
    section(&mut out, "At the top", "", TOP);
    section(
        &mut out,
        "Service",
        "Each stands in a table `[services.NAME]`.\n\n",
        SERVICE,
    );
    section(
        &mut out,
        "Build",
        "The table `build` of a service, or at the top of the file for all services that are built from the \
         manifest's own folder, whose own fields win one by one. What is not said is detected; `nonna build \
         --explain` shows what, and why. A folder's Dockerfile is the whole plan: beside it the table has to name the \
         `language`, which is then built without the Dockerfile; but `secrets` are for both.\n\n",
        BUILD,
    );
    section(
        &mut out,
        "Health",
        "The table of a service's `health`. It asks one thing: `http`, `tcp`, `command` or `process`; with none of \
         them, the times hold for the default check.\n\n",
        HEALTH,
    );
    section(
        &mut out,
        "Environment",
        "Each stands in a table `[environments.NAME]`, and says what differs there.\n\n",
        ENVIRONMENT,
    );
    out.push_str(END);
    out
}

fn section(out: &mut String, title: &str, about: &str, fields: &[Field]) {
    out.push_str(&format!(
        "## {title}\n\n{about}| field | value | default | |\n|---|---|---|---|\n"
    ));
    for field in fields {
        let cell = |text: &str| text.replace('|', "\\|");
        out.push_str(&format!(
            "| `{}` | {} | {} | {} `{} = {}` |\n",
            field.name,
            cell(field.kind),
            cell(field.default),
            cell(field.about),
            field.name,
            cell(field.example),
        ));
    }
    out.push('\n');
}
