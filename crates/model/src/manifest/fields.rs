//! The one table of what may stand in a manifest. It feeds the reader's lists
//! of known fields, the JSON Schema and the reference in `docs/`.

use serde_json::{Value, json};

use super::limits::{
    MAX_BRANCH, MAX_CPU, MAX_DOMAINS, MAX_ENVIRONMENTS, MAX_HOST, MAX_IMAGE, MAX_PATH, MAX_PIDS,
    MAX_REPLICAS, MAX_RETRIES, MAX_SECRETS, MAX_SERVICES, MAX_TARGET, MAX_VARIABLE_NAME, MAX_VARIABLE_VALUE,
    MAX_VARIABLES, MAX_VOLUMES, MAX_WATCH, MAX_WORD, MAX_WORDS,
};
use crate::name;
use crate::service::LANGUAGES;

/// What variables and secrets may be called.
const VARIABLE_NAME: &str = "^[A-Za-z_][A-Za-z0-9_]*$";
const NAME: &str = "^[a-z]([a-z0-9-]*[a-z0-9])?$";
const DURATION: &str = "^[0-9]+ ?(ms|s|m|h)$";
const MEMORY: &str = "^(none|[0-9]+(\\.[0-9]+)? ?([bB]|[kKmMgGtT]([iI]?[bB])?|[kKmMgGtT][iI]))$";
const CONTAINER_PATH: &str = "^/.+";

/// One field.
pub(super) struct Field {
    /// Its key.
    pub(super) name: &'static str,
    /// What it holds, in words.
    pub(super) kind: &'static str,
    /// What it is for.
    pub(super) about: &'static str,
    /// What holds where it is absent.
    pub(super) default: &'static str,
    /// A value, as TOML.
    pub(super) example: &'static str,
    /// What people who come from elsewhere write for it.
    pub(super) aliases: &'static [&'static str],
    /// The JSON Schema of its value.
    pub(super) schema: fn() -> Value,
}

/// The fields at the top of the file.
pub(super) static TOP: &[Field] = &[
    Field {
        name: "project",
        kind: "name",
        about: "The project's name.",
        default: "the folder's name, in small letters and dashes",
        example: "\"shop\"",
        aliases: &["name", "app", "application"],
        schema: name_schema,
    },
    Field {
        name: "environment",
        kind: "name",
        about: "Where `nonna deploy` goes when it is not told.",
        default: "`production`",
        example: "\"staging\"",
        aliases: &["default_environment", "env"],
        schema: name_schema,
    },
    Field {
        name: "variables",
        kind: "table of strings, numbers or booleans",
        about: "Variables of the project: every service of every environment gets them, unless a nearer scope has \
                the same name.",
        default: "none",
        example: "{ LOG_LEVEL = \"info\" }",
        aliases: &["vars", "environment_variables"],
        schema: variables_schema,
    },
    Field {
        name: "build",
        kind: "table",
        about: "How the manifest's own folder is built, in place of what would be detected; see *Build*.",
        default: "what is detected",
        example: "{ command = \"npm run build\" }",
        aliases: &["builder"],
        schema: || json!({"$ref": "#/$defs/build"}),
    },
    Field {
        name: "services",
        kind: "table of services by name",
        about: "The services; see *Service*. No more than 100.",
        default: "one service `web`, built from the folder itself",
        example: "{ web = { source = \".\" } }",
        aliases: &["service", "apps", "applications", "containers"],
        schema: || named("#/$defs/service", MAX_SERVICES),
    },
    Field {
        name: "environments",
        kind: "table of environments by name",
        about: "What differs in one environment; see *Environment*. No more than 100.",
        default: "nothing differs",
        example: "{ staging = { variables = { LOG_LEVEL = \"debug\" } } }",
        aliases: &["envs", "overrides"],
        schema: || named("#/$defs/environment", MAX_ENVIRONMENTS),
    },
];

/// The fields of one environment.
pub(super) static ENVIRONMENT: &[Field] = &[
    Field {
        name: "branch",
        kind: "string",
        about: "The branch whose pushes to this server (`git push nonna`) are deployed here. What `nonna git follow` \
                was told wins; for pushes to a forge only that counts.",
        default: "`main` and `master` go to `environment`",
        example: "\"develop\"",
        aliases: &["git_branch"],
        schema: || text(MAX_BRANCH),
    },
    Field {
        name: "variables",
        kind: "table of strings, numbers or booleans",
        about: "Variables of the environment: all its services get them, unless the service itself has the same name.",
        default: "none",
        example: "{ LOG_LEVEL = \"debug\" }",
        aliases: &["vars", "env", "environment"],
        schema: variables_schema,
    },
    Field {
        name: "services",
        kind: "table of services by name",
        about: "Any field of a service that differs here. `variables`, `build_arguments` and `volumes` are merged key \
                by key; every other field replaces the service's own. The service must be declared under \
                `[services]`.",
        default: "nothing differs",
        example: "{ web = { replicas = 1 } }",
        aliases: &["service"],
        schema: || named("#/$defs/service", MAX_SERVICES),
    },
];

/// The fields of one service.
pub(super) static SERVICE: &[Field] = &[
    Field {
        name: "source",
        kind: "path",
        about: "The folder that is built: relative to the manifest, inside its folder.",
        default: "`.` where there is no `image`",
        example: "\".\"",
        aliases: &["context", "path", "dir", "directory", "root"],
        schema: || text(MAX_PATH),
    },
    Field {
        name: "dockerfile",
        kind: "path",
        about: "The Dockerfile, inside `source`.",
        default: "`Dockerfile` if there is one, else the language is detected",
        example: "\"Dockerfile\"",
        aliases: &["docker_file", "containerfile"],
        schema: || text(MAX_PATH),
    },
    Field {
        name: "target",
        kind: "string",
        about: "The stage of the Dockerfile to build.",
        default: "the last stage",
        example: "\"runtime\"",
        aliases: &["stage"],
        schema: || json!({"type": "string", "pattern": "^[A-Za-z0-9][A-Za-z0-9_.-]*$", "maxLength": MAX_TARGET}),
    },
    Field {
        name: "build_arguments",
        kind: "table of strings, numbers or booleans",
        about: "The Dockerfile's `ARG`s. Not for secrets: they stay in the image's history.",
        default: "none",
        example: "{ VERSION = \"1\" }",
        aliases: &["args", "build_args", "arguments"],
        schema: arguments_schema,
    },
    Field {
        name: "build",
        kind: "table",
        about: "How `source` is built, in place of what would be detected; see *Build*.",
        default: "what is detected",
        example: "{ command = \"npm run build\" }",
        aliases: &["builder"],
        schema: || json!({"$ref": "#/$defs/build"}),
    },
    Field {
        name: "build_timeout",
        kind: "duration",
        about: "The longest a build may take, where that is less than the server's setting `build.timeout`.",
        default: "as the server says",
        example: "\"10m\"",
        aliases: &[],
        schema: duration_schema,
    },
    Field {
        name: "image",
        kind: "image reference",
        about: "An image that exists already, in place of `source`.",
        default: "none: the service is built",
        example: "\"redis:7\"",
        aliases: &["container", "docker_image"],
        schema: || text(MAX_IMAGE),
    },
    Field {
        name: "push",
        kind: "repository",
        about: "The registry's repository that every image built for the service is pushed to, signed; its layers are \
                the cache of later builds on other machines. No tag: each release gets its own. See \
                [registries.md](registries.md).",
        default: "none: images stay on the machine",
        example: "\"ghcr.io/acme/web\"",
        aliases: &["registry", "repository", "push_to"],
        schema: || text(MAX_IMAGE),
    },
    Field {
        name: "push_required",
        kind: "true or false",
        about: "Whether a deployment fails whose image cannot be pushed. `false`: it goes on, and says so.",
        default: "true",
        example: "true",
        aliases: &[],
        schema: || json!({"type": "boolean"}),
    },
    Field {
        name: "command",
        kind: "string or list of strings",
        about: "What runs in place of the image's command. A string is split into words as a shell splits them, but \
                no shell ever sees it: for `$NAME`, `&&` or `|` write `[\"sh\", \"-c\", \"…\"]`.",
        default: "the image's own command",
        example: "[\"bin/serve\", \"--verbose\"]",
        aliases: &["cmd", "entrypoint", "run", "start", "args"],
        schema: command_schema,
    },
    Field {
        name: "release",
        kind: "string or list of strings",
        about: "What runs once for every new release, in a fresh replica of it, before its replicas start: database \
                migrations, say. If it fails, the old release goes on serving. It must bear to be run twice: where \
                Nonna is killed meanwhile it begins again. A rollback does not run it.",
        default: "`release:` of the Procfile, else none",
        example: "[\"python\", \"manage.py\", \"migrate\"]",
        aliases: &["release_command", "migrate", "pre_deploy", "predeploy"],
        schema: command_schema,
    },
    Field {
        name: "release_timeout",
        kind: "duration, to 1 hour",
        about: "How long `release` and `post_deploy` may take.",
        default: "`\"1h\"`",
        example: "\"10m\"",
        aliases: &["release_command_timeout"],
        schema: duration_schema,
    },
    Field {
        name: "post_deploy",
        kind: "string or list of strings",
        about: "What runs once in the service's first deployment in an environment, when all replicas are healthy and \
                before they get requests: first data, say. If it fails, so does the deployment, and the next one \
                is the first again.",
        default: "`scripts.postdeploy` of app.json, else none",
        example: "[\"bin/seed\"]",
        aliases: &["postdeploy", "seed", "after_deploy"],
        schema: command_schema,
    },
    Field {
        name: "after",
        kind: "list of service names",
        about: "The services whose replicas must be healthy before this one's start.",
        default: "none: all start at once, but a `release` command waits for the services that have no part in it",
        example: "[\"db\"]",
        aliases: &["depends_on", "needs", "requires"],
        schema: || {
            json!({
                "type": "array",
                "items": name_schema(),
                "maxItems": MAX_SERVICES,
                "uniqueItems": true,
            })
        },
    },
    Field {
        name: "port",
        kind: "1 to 65535, or false",
        about: "Where the replicas listen, on `0.0.0.0`; given to them as `PORT`. `false`: nothing listens (a worker).",
        default: "8080",
        example: "8080",
        aliases: &["ports", "expose", "internal_port", "listen"],
        schema: || {
            json!({"oneOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"const": false},
            ]})
        },
    },
    Field {
        name: "protocol",
        kind: "`http1` or `h2c`",
        about: "What the edge speaks to the replicas: HTTP/1.1 with WebSocket, or HTTP/2 without TLS, which gRPC needs.",
        default: "`http1`",
        example: "\"http1\"",
        aliases: &["proto"],
        schema: || choice(super::service::PROTOCOLS),
    },
    Field {
        name: "replicas",
        kind: "0 to 100",
        about: "How many replicas run. Where it is absent, `nonna scale` decides.",
        default: "1",
        example: "2",
        aliases: &["instances", "scale", "count"],
        schema: || json!({"type": "integer", "minimum": 0, "maximum": MAX_REPLICAS}),
    },
    Field {
        name: "domains",
        kind: "list of strings",
        about: "The routes that lead here, beside the one every service with a port gets: a host, a host and a path \
                prefix (`example.org/api`), or a wildcard (`*.example.org`). No more than 100.",
        default: "none",
        example: "[\"example.org\", \"*.example.org\", \"example.org/api\"]",
        aliases: &["domain", "hosts", "host", "routes", "urls", "hostname"],
        schema: || json!({"type": "array", "items": text(MAX_HOST + MAX_PATH), "maxItems": MAX_DOMAINS, "uniqueItems": true}),
    },
    Field {
        name: "health",
        kind: "path or table",
        about: "How a replica is found healthy: the path of a `GET`, or a table; see *Health*.",
        default: "`GET /` on the port must answer below 500; without a port, the process must run",
        example: "\"/healthz\"",
        aliases: &["healthcheck", "health_check", "check", "liveness", "readiness"],
        schema: || {
            json!({"oneOf": [
                {"type": "string", "pattern": "^/", "maxLength": MAX_PATH},
                {"$ref": "#/$defs/health"},
            ]})
        },
    },
    Field {
        name: "cpu",
        kind: "number above 0, to 1024",
        about: "The most processor cores one replica may use.",
        default: "no limit",
        example: "0.5",
        aliases: &["cpus", "cpu_limit", "cores"],
        schema: || json!({"type": "number", "exclusiveMinimum": 0, "maximum": MAX_CPU}),
    },
    Field {
        name: "memory",
        kind: "amount of memory, or `\"none\"`",
        about: "The most memory one replica may use, swap included; at least 6 MiB. `KB`, `MB`, `GB` count in \
                thousands, `KiB`, `MiB`, `GiB` in 1,024s. `\"none\"`: no limit.",
        default: "`\"512MiB\"`",
        example: "\"512MB\"",
        aliases: &["mem", "memory_limit", "ram", "mem_limit"],
        schema: || json!({"type": "string", "pattern": MEMORY, "maxLength": 40}),
    },
    Field {
        name: "pids",
        kind: "1 to 4194304",
        about: "The most processes and threads of one replica.",
        default: "512",
        example: "512",
        aliases: &["pids_limit", "processes"],
        schema: || json!({"type": "integer", "minimum": 1, "maximum": MAX_PIDS}),
    },
    Field {
        name: "restart",
        kind: "`always`, `on-failure` or `never`",
        about: "What happens when a replica's process ends.",
        default: "`always`",
        example: "\"on-failure\"",
        aliases: &["restart_policy"],
        schema: || choice(super::service::RESTARTS),
    },
    Field {
        name: "strategy",
        kind: "`rolling` or `recreate`",
        about: "How a new release comes up. `rolling`: new replicas first, old ones after, no request lost. \
                `recreate`: the old ones stop first, for what must not run twice: two databases on one volume \
                corrupt it.",
        default: "`recreate` where the service has both an `image` and `volumes`, else `rolling`",
        example: "\"rolling\"",
        aliases: &["rollout", "deploy_strategy", "update"],
        schema: || choice(super::service::STRATEGIES),
    },
    Field {
        name: "volumes",
        kind: "table of paths by volume name",
        about: "Volumes that outlive the replicas, and where the replicas find them: an absolute path, not `/` nor \
                in `/proc`, `/sys` or `/dev`. No more than 20.",
        default: "none",
        example: "{ data = \"/var/lib/data\" }",
        aliases: &["volume", "mounts", "disks", "disk", "storage"],
        schema: || {
            json!({
                "type": "object",
                "propertyNames": name_schema(),
                "additionalProperties": {"type": "string", "pattern": CONTAINER_PATH, "maxLength": MAX_PATH},
                "maxProperties": MAX_VOLUMES,
            })
        },
    },
    Field {
        name: "stop_timeout",
        kind: "duration, to 1 hour",
        about: "How long open requests and the process itself get to end before a replica is killed.",
        default: "`\"10s\"`",
        example: "\"10s\"",
        aliases: &[
            "stop_grace_period",
            "kill_timeout",
            "grace_period",
            "termination_grace_period",
        ],
        schema: duration_schema,
    },
    Field {
        name: "variables",
        kind: "table of strings, numbers or booleans",
        about: "Variables of the service. `PORT` is Nonna's own: set `port`.",
        default: "none",
        example: "{ LOG_LEVEL = \"info\" }",
        aliases: &["env", "environment", "vars"],
        schema: variables_schema,
    },
    Field {
        name: "secrets",
        kind: "list of strings",
        about: "The names of secrets that must be set (`nonna secret set`) before a deploy. Never their values.",
        default: "none",
        example: "[\"DATABASE_URL\"]",
        aliases: &["secret", "required_secrets"],
        schema: || {
            json!({
                "type": "array",
                "items": {"type": "string", "pattern": VARIABLE_NAME, "maxLength": MAX_VARIABLE_NAME},
                "maxItems": MAX_VARIABLES,
                "uniqueItems": true,
            })
        },
    },
    Field {
        name: "watch",
        kind: "list of strings",
        about: "Paths, from the manifest's folder, that make a push build this service anew: `*`, `?` and `**` may stand in \
                them, a folder stands for all below it, `!` takes away. For a service whose `source` holds more than it is \
                made of, such as the root of a monorepo. `nonna deploy` builds whatever changed.",
        default: "all of `source`",
        example: "[\"api\", \"shared/**/*.proto\"]",
        aliases: &["watch_paths", "paths", "watch_patterns"],
        schema: || {
            json!({
                "type": "array",
                "items": {"type": "string", "maxLength": MAX_PATH},
                "maxItems": MAX_WATCH,
                "uniqueItems": true,
            })
        },
    },
];

/// The fields of a table `build`.
pub(super) static BUILD: &[Field] = &[
    Field {
        name: "language",
        kind: "language",
        about: "The language, where several are recognised or a Dockerfile is not to be used: see \
                [languages.md](languages.md).",
        default: "the strongest sign decides",
        example: "\"node\"",
        aliases: &["lang", "runtime", "buildpack", "provider", "type"],
        schema: || json!({"enum": LANGUAGES}),
    },
    Field {
        name: "install",
        kind: "line for the shell",
        about: "What installs the dependencies, with the caches of the language. It finds the whole source. Empty: \
                nothing is installed.",
        default: "the package manager that is detected",
        example: "\"npm ci --legacy-peer-deps\"",
        aliases: &["install_command", "dependencies"],
        schema: line_schema,
    },
    Field {
        name: "command",
        kind: "line for the shell",
        about: "What builds. Empty: nothing is built.",
        default: "the build that is detected",
        example: "\"npm run build:production\"",
        aliases: &["build", "build_command", "cmd", "run"],
        schema: line_schema,
    },
    Field {
        name: "start",
        kind: "line for the shell",
        about: "What the image starts. `command` of a service, and its process type in the Procfile, replace it.",
        default: "`web` in the Procfile, else what is detected",
        example: "\"node dist/server.js\"",
        aliases: &["start_command", "entrypoint", "web"],
        schema: || json!({"type": "string", "minLength": 1, "maxLength": MAX_WORD}),
    },
    Field {
        name: "output",
        kind: "path",
        about: "The folder, inside `source`, whose files are served as they are once the build has run. For languages \
                whose builds can end in pages.",
        default: "what the framework says",
        example: "\"dist\"",
        aliases: &["output_directory", "publish", "dist", "static"],
        schema: || text(MAX_PATH),
    },
    Field {
        name: "secrets",
        kind: "list of strings",
        about: "The names of secrets (`nonna secret set`) that the build may read, never their values. A Dockerfile \
                mounts one by its name: `RUN --mount=type=secret,id=NPM_TOKEN …`; the install and build commands of \
                a detected language find them as variables. None is in a layer, the history or the log of the build, \
                and another value builds nothing anew.",
        default: "none",
        example: "[\"NPM_TOKEN\"]",
        aliases: &["secret", "build_secrets"],
        schema: || {
            json!({
                "type": "array",
                "items": {"type": "string", "pattern": VARIABLE_NAME, "maxLength": MAX_VARIABLE_NAME},
                "maxItems": MAX_SECRETS,
                "uniqueItems": true,
            })
        },
    },
];

/// The fields of a health check that is a table.
pub(super) static HEALTH: &[Field] = &[
    Field {
        name: "http",
        kind: "path",
        about: "`GET` of this path must answer 200 to 399.",
        default: "none",
        example: "\"/healthz\"",
        aliases: &["path", "url", "endpoint", "get"],
        schema: || json!({"type": "string", "pattern": "^/", "maxLength": MAX_PATH}),
    },
    Field {
        name: "tcp",
        kind: "true",
        about: "A connection must be accepted.",
        default: "none",
        example: "true",
        aliases: &["tcp_socket"],
        schema: || json!({"type": "boolean"}),
    },
    Field {
        name: "command",
        kind: "string or list of strings",
        about: "A command inside the replica must exit with 0.",
        default: "none",
        example: "[\"pg_isready\"]",
        aliases: &["cmd", "exec", "test"],
        schema: command_schema,
    },
    Field {
        name: "process",
        kind: "true",
        about: "Only that the process runs.",
        default: "none",
        example: "true",
        aliases: &["running", "none"],
        schema: || json!({"type": "boolean"}),
    },
    Field {
        name: "port",
        kind: "1 to 65535",
        about: "Another port than the service's, for `http` and `tcp`.",
        default: "the service's `port`",
        example: "9000",
        aliases: &[],
        schema: || json!({"type": "integer", "minimum": 1, "maximum": 65535}),
    },
    Field {
        name: "interval",
        kind: "duration, 100 ms to 1 hour",
        about: "Between two probes of a healthy replica. While it starts, probes are quicker.",
        default: "`\"10s\"`",
        example: "\"10s\"",
        aliases: &["period", "every"],
        schema: duration_schema,
    },
    Field {
        name: "timeout",
        kind: "duration, 100 ms to 1 hour",
        about: "Within which an answer must come.",
        default: "`\"5s\"`",
        example: "\"5s\"",
        aliases: &[],
        schema: duration_schema,
    },
    Field {
        name: "start_period",
        kind: "duration, to 1 hour",
        about: "How long a replica may take to become healthy.",
        default: "`\"60s\"`",
        example: "\"60s\"",
        aliases: &["grace_period", "initial_delay", "start_interval"],
        schema: duration_schema,
    },
    Field {
        name: "retries",
        kind: "1 to 100",
        about: "How many probes in a row must fail until a replica that was healthy is not.",
        default: "3",
        example: "3",
        aliases: &["failures", "threshold", "failure_threshold", "attempts"],
        schema: || json!({"type": "integer", "minimum": 1, "maximum": MAX_RETRIES}),
    },
];

fn text(longest: usize) -> Value {
    json!({"type": "string", "minLength": 1, "maxLength": longest})
}

fn choice<T>(of: &[(&str, T)]) -> Value {
    json!({"enum": of.iter().map(|(word, _)| *word).collect::<Vec<_>>()})
}

pub(super) fn name_schema() -> Value {
    json!({"type": "string", "pattern": NAME, "maxLength": name::MAX_LEN})
}

fn named(reference: &str, most: usize) -> Value {
    json!({
        "type": "object",
        "propertyNames": name_schema(),
        "additionalProperties": {"$ref": reference},
        "maxProperties": most,
    })
}

fn variables_schema() -> Value {
    values(json!({"pattern": VARIABLE_NAME, "maxLength": MAX_VARIABLE_NAME, "not": {"const": "PORT"}}))
}

fn arguments_schema() -> Value {
    values(json!({"pattern": VARIABLE_NAME, "maxLength": MAX_VARIABLE_NAME}))
}

#[expect(clippy::needless_pass_by_value, reason = "the macro takes it apart")]
fn values(names: Value) -> Value {
    json!({
        "type": "object",
        "propertyNames": names,
        "additionalProperties": {"oneOf": [
            {"type": "string", "maxLength": MAX_VARIABLE_VALUE},
            {"type": "number"},
            {"type": "boolean"},
        ]},
        "maxProperties": MAX_VARIABLES,
    })
}

fn line_schema() -> Value {
    json!({"type": "string", "maxLength": MAX_WORD})
}

fn duration_schema() -> Value {
    json!({"type": "string", "pattern": DURATION, "maxLength": 20})
}

fn command_schema() -> Value {
    json!({"oneOf": [
        text(MAX_WORD),
        {
            "type": "array",
            "items": {"type": "string", "maxLength": MAX_WORD},
            "minItems": 1,
            "maxItems": MAX_WORDS,
        },
    ]})
}
