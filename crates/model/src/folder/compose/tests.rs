//! Compose files shaped like those that people have, and what becomes of them.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::super::tests::Files;
use super::super::{Ask, Declared, SecretFrom, declare};
use crate::manifest::{DeclaredPort, DeclaredSource, Problems, ServiceDeclaration};
use crate::service::{FileContent, Probe, RestartPolicy, Strategy};

fn read_with(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Declared, Problems> {
    let lookup = |name: &str| {
        variables
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    };
    let ask = Ask {
        compose: Some(files[0].0),
        variables: &lookup,
        ..Ask::default()
    };
    declare(&Files::new(files), &ask)
}

fn good_with(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Declared {
    let declared = read_with(files, variables).unwrap_or_else(|problems| panic!("{problems}"));
    let again = declared.words.declare(None).unwrap();
    assert_eq!(
        again.services, declared.services,
        "the words alone lead to the same"
    );
    declared
}

fn good(text: &str) -> Declared {
    good_with(&[("compose.yaml", text)], &[])
}

fn problems(text: &str) -> Vec<String> {
    match read_with(&[("compose.yaml", text)], &[]) {
        Ok(declared) => panic!("nothing wrong: {:?}", declared.services),
        Err(problems) => problems.0.iter().map(ToString::to_string).collect(),
    }
}

fn service<'d>(declared: &'d Declared, name: &str) -> &'d ServiceDeclaration {
    declared
        .services
        .iter()
        .find(|service| service.name.as_str() == name)
        .unwrap_or_else(|| panic!("no {name} in {:?}", declared.services))
}

/// What matters of everything, in lines.
fn summary(declared: &Declared) -> String {
    let mut out = String::new();
    for s in &declared.services {
        let port = s
            .port
            .number()
            .map_or_else(|| "none".to_owned(), |p| p.to_string());
        let source = match &s.source {
            DeclaredSource::Image { reference } => format!("image {reference}"),
            DeclaredSource::Folder {
                path,
                dockerfile,
                target,
                arguments,
                ..
            } => format!("folder {path} {dockerfile:?} {target:?} {arguments:?}"),
        };
        let _ = writeln!(
            out,
            "{}: {source}, port {port}, {:?}, {:?}",
            s.name, s.strategy, s.restart
        );
        let mut line = |what: &str, value: String| {
            let _ = writeln!(out, "  {what}: {value}");
        };
        for (what, words) in [("entrypoint", &s.entrypoint), ("command", &s.command)] {
            if let Some(words) = words {
                line(what, format!("{words:?}"));
            }
        }
        if let Some(release) = &s.release {
            line("release", format!("{:?}", release.command));
        }
        if !s.aliases.is_empty() {
            line("aliases", s.aliases.join(" "));
        }
        if !s.after.is_empty() {
            line(
                "after",
                format!(
                    "{:?}",
                    s.after.iter().map(ToString::to_string).collect::<Vec<_>>()
                ),
            );
        }
        for (name, value) in &s.variables {
            line("variable", format!("{name}={value}"));
        }
        for volume in &s.volumes {
            line("volume", format!("{} at {}", volume.name, volume.path));
        }
        for file in &s.files {
            let what = match &file.content {
                FileContent::Secret { name } => format!("secret {name}"),
                FileContent::Text { text } => format!("{} bytes", text.len()),
            };
            line("file", format!("{} {:o} {what}", file.path, file.mode));
        }
    }
    for secret in &declared.secrets {
        let _ = writeln!(out, "secret {}: {:?}", secret.name, secret.from);
    }
    for note in &declared.notes {
        let _ = writeln!(out, "note {note}");
    }
    out
}

#[test]
fn wordpress() {
    let declared = good(include_str!("golden/wordpress.yaml"));
    assert_eq!(
        summary(&declared),
        "db: image mariadb:10.6, port none, Recreate, Always\n\
        \x20 command: [\"--default-authentication-plugin=mysql_native_password\", \"--max-connections=50\"]\n\
        \x20 aliases: wp_db\n\
        \x20 variable: MYSQL_DATABASE=wordpress\n\
        \x20 variable: MYSQL_PASSWORD=wordpress\n\
        \x20 variable: MYSQL_ROOT_PASSWORD=somewordpress\n\
        \x20 variable: MYSQL_USER=wordpress\n\
        \x20 volume: db-data at /var/lib/mysql\n\
        wordpress: image wordpress:latest, port 80, Recreate, Always\n\
        \x20 after: [\"db\"]\n\
        \x20 variable: WORDPRESS_DB_HOST=db\n\
        \x20 variable: WORDPRESS_DB_NAME=wordpress\n\
        \x20 variable: WORDPRESS_DB_PASSWORD=wordpress\n\
        \x20 variable: WORDPRESS_DB_USER=wordpress\n\
        \x20 volume: wp-data at /var/www/html\n"
    );
}

#[test]
fn django() {
    let files = [
        ("compose.yaml", include_str!("golden/django.yaml")),
        (".env", "PGPASSWORD=from-dot-env\n"),
        (".env.web", "LEVEL=info\nDEBUG=overruled\n"),
    ];
    let declared = good_with(&files, &[]);
    assert_eq!(declared.project.as_ref().unwrap().as_str(), "shop-backend");
    assert_eq!(
        summary(&declared),
        "cache: image redis:7-alpine, port none, Rolling, Always\n\
        \x20 command: [\"redis-server\", \"/usr/local/etc/redis.conf\"]\n\
        \x20 aliases: redis\n\
        \x20 file: /usr/local/etc/redis.conf 444 29 bytes\n\
        celery-worker: folder . None None {\"PYTHON_VERSION\": \"3.12\"}, port none, Rolling, Always\n\
        \x20 command: [\"celery\", \"-A\", \"shop\", \"worker\"]\n\
        \x20 aliases: celery_worker\n\
        \x20 after: [\"db\"]\n\
        \x20 variable: DATABASE_URL=postgres://app:from-dot-env@db:5432/app\n\
        \x20 variable: DEBUG=true\n\
        \x20 variable: LEVEL=info\n\
        \x20 variable: REDIS_URL=redis://cache:6379/0\n\
        db: image postgres:16, port none, Recreate, Always\n\
        \x20 variable: POSTGRES_PASSWORD_FILE=/run/secrets/pg-password\n\
        \x20 variable: POSTGRES_USER=app\n\
        \x20 volume: pgdata at /var/lib/postgresql/data\n\
        \x20 file: /run/secrets/pg-password 444 secret pg_password\n\
        \x20 file: /etc/ssl/server.key 400 secret tls\n\
        web: folder . None None {\"PYTHON_VERSION\": \"3.12\"}, port 8000, Rolling, Always\n\
        \x20 command: [\"gunicorn\", \"shop.wsgi\", \"-b\", \"0.0.0.0:8000\"]\n\
        \x20 release: [\"python\", \"manage.py\", \"migrate\"]\n\
        \x20 after: [\"db\"]\n\
        \x20 variable: DATABASE_URL=postgres://app:from-dot-env@db:5432/app\n\
        \x20 variable: DEBUG=false\n\
        \x20 variable: LEVEL=info\n\
        \x20 variable: REDIS_URL=redis://cache:6379/0\n\
        secret pg_password: Variable { name: \"PGPASSWORD\" }\n\
        secret tls: File { path: \"certs/server.key\" }\n\
        note compose.yaml:1: the project is called `shop-backend`: only the letters a-z, digits and `-` may stand in it\n\
        note compose.yaml:36: `reservations` of `resources` is not carried over\n\
        note compose.yaml:44: the service is called `celery-worker`; others reach it as `celery_worker` too\n\
        note compose.yaml:51: `migrate` is no service of its own: its command runs before each release of `web`, with \
        the variables of that service\n\
        note compose.yaml:72: port 5432 is not published: the other services reach it as `db:5432`\n\
        note compose.yaml:77: `shm_size` is not carried over\n\
        note compose.yaml:87: `mail` is left out: none of its `profiles` is in COMPOSE_PROFILES\n\
        note compose.yaml:98: the secret `pg-password` is called pg_password in Nonna\n"
    );
    let web = service(&declared, "web");
    assert_eq!(web.replicas, Some(2));
    assert_eq!(web.resources.cpu_millis, Some(500));
    assert_eq!(web.resources.memory.unwrap().0, 256 << 20);
    assert_eq!((web.health.interval_ms, web.health.timeout_ms), (15_000, 3000));
    assert_eq!(web.health.start_period_ms, 90_000 + 4 * 18_000);
    let db = service(&declared, "db");
    let Probe::Command { command } = &db.health.probe else {
        panic!()
    };
    assert_eq!(command[2], "pg_isready -U app -d ${POSTGRES_DB:-app}");
    assert_eq!(db.resources.memory, None);
    assert!(db.withheld_secrets.is_empty());
    assert_eq!(web.withheld_secrets, ["pg_password", "tls"]);
    assert_eq!(service(&declared, "celery-worker").stop_timeout_ms, 60_000);
    // The caller's own environment wins over `.env`, and only what is used travels.
    let declared = good_with(
        &files,
        &[
            ("PGPASSWORD", "x"),
            ("HOME", "/root"),
            ("COMPOSE_PROFILES", "dev"),
        ],
    );
    assert!(service(&declared, "web").variables["DATABASE_URL"].contains(":x@"));
    assert_eq!(service(&declared, "mail").port, DeclaredPort::Number(8025));
    assert!(!declared.words.variables.contains_key("HOME"));
}

#[test]
fn a_monorepo_with_several_builds_includes_and_extends() {
    let declared = good_with(
        &[
            ("compose.yaml", include_str!("golden/monorepo.yaml")),
            (
                "infra/queue.yaml",
                "services:\n  queue:\n    image: rabbitmq:3\n    env_file: queue.env\n",
            ),
            ("infra/queue.env", "RABBITMQ_DEFAULT_VHOST=/\n"),
            (
                "infra/base.yaml",
                "services:\n  node:\n    image: node:22\n    restart: unless-stopped\n    environment:\n      - NODE_ENV=production\n      - API=none\n",
            ),
        ],
        &[],
    );
    assert_eq!(
        summary(&declared),
        "api: folder services/api Some(\"docker/Dockerfile.prod\") Some(\"runtime\") {}, port 3000, Rolling, Always\n\
        \x20 entrypoint: [\"/srv/entry.sh\"]\n\
        \x20 after: [\"queue\"]\n\
        \x20 variable: QUEUE=amqp://queue\n\
        front: folder services/front None None {}, port 8080, Rolling, Always\n\
        \x20 variable: API=http://api:3000\n\
        \x20 variable: NODE_ENV=production\n\
        queue: image rabbitmq:3, port none, Rolling, Always\n\
        \x20 aliases: rabbit\n\
        \x20 variable: RABBITMQ_DEFAULT_VHOST=/\n\
        note compose.yaml:14: port 9229 is not published: the other services reach it as `api:9229`\n\
        note compose.yaml:25: port 443 is not published: the edge speaks TLS for every route\n\
        note compose.yaml:29: `labels` are not carried over; a proxy's routes among them are `domains` in Nonna: \
        `nonna domain add`\n\
        note infra/base.yaml:3: `image` beside `build` is not carried over: Nonna names what it builds itself\n"
    );
    let api = service(&declared, "api");
    assert_eq!(api.user.as_deref(), Some("1000:1000"));
    assert_eq!(api.working_directory.as_deref(), Some("/srv"));
}

#[test]
fn what_would_have_rights_over_the_machine_is_refused_with_words() {
    let found = problems(include_str!("golden/refused.yaml")).join("\n");
    for expected in [
        "compose.yaml:5:19: `network_mode`: a service does not get the machine's own network",
        "compose.yaml:6:10: `pid`: a service has namespaces of its own",
        "compose.yaml:7:15: the capability `NET_ADMIN` is not given",
        "compose.yaml:8:14: `devices`",
        "compose.yaml:9:20: what keeps a container from the machine is not lifted",
        "compose.yaml:12:9: a path beside the Compose file is on your machine",
        "compose.yaml:13:9: the volume `undeclared` is not declared under the file's `volumes`; did you mean `undeclred`?",
        "compose.yaml:14:14: `allways` is no restart policy; did you mean `always`?",
        "compose.yaml:15:5: `colour` is nothing that a service of a Compose file has",
        "`image`: an image's name has only small letters; did you mean `nginx`?",
        "there is no service `too`; did you mean `two`?",
        "`context` must be a path inside the project's folder",
        "a port is written",
        "`test` is a line, or a list",
        "`mem_limit` is an amount of memory",
        "a quote in `command` is not closed",
        "`nope` is not declared under the file's `secrets`",
        "`three` waits for `four`, which waits for it",
    ] {
        assert!(found.contains(expected), "{expected} is not in\n{found}");
    }
    let shared = problems(
        "services:\n  a:\n    image: x\n    volumes: [s:/a]\n  b:\n    image: x\n    volumes: [s:/b]\nvolumes:\n  s:\n",
    );
    assert!(
        shared[0].contains("compose.yaml:7:15: the volume `s` is `a`'s already"),
        "{shared:?}"
    );
}

#[test]
fn what_leads_nowhere_is_said_where_it_stands() {
    for (text, expected) in [
        ("services:\n  a:\n    image: [", "compose.yaml:"),
        (
            "service:\n  a: {image: x}",
            "compose.yaml:1:1: `service` is nothing that a Compose file has; did you mean `services`?",
        ),
        ("services: {}", "1 to 100 services"),
        (
            "services:\n  a: {}",
            "compose.yaml:2:3: a service needs an `image` or a `build`",
        ),
        (
            "services:\n  a:\n    image: ${X:?give it}",
            "compose.yaml:3:12: the variable `X` must be set: give it",
        ),
        (
            "services:\n  a:\n    image: x\n    extends: b",
            "there is no service `b` to extend",
        ),
        ("services:\n  a:\n    image: x\n    extends: a", "without end"),
        (
            "include: [compose.yaml]\nservices:\n  a: {image: x}",
            "in another file too",
        ),
        (
            "services:\n  a: {image: x, env_file: no.env}",
            "there is no file `no.env`",
        ),
        (
            "services:\n  a_b: {image: x}\n  a-b: {image: x}",
            "would both be the service `a-b`",
        ),
        (
            "services:\n  a: {image: x, secrets: [s]}\nsecrets:\n  s: {}",
            "needs a `file`",
        ),
        (
            "services:\n  a: {image: x, build: {dockerfile_inline: FROM x}}",
            "write this into one",
        ),
        (
            "services:\n  a: {image: x, container_name: n}\n  b: {image: x, container_name: n}",
            "would both be reached as `n`",
        ),
    ] {
        let found = problems(text).join("\n");
        assert!(found.contains(expected), "{expected} is not in\n{found}");
    }
}

#[test]
fn a_mistake_in_a_file_of_secrets_does_not_repeat_it() {
    let problems = read_with(
        &[
            ("compose.yaml", "services:\n  a: {image: x, env_file: s.env}"),
            ("s.env", "A=1\nhunter2 is the password\n"),
        ],
        &[],
    )
    .unwrap_err();
    assert!(problems.to_string().contains("s.env:2:1"), "{problems}");
    assert!(!problems.to_string().contains("hunter2"), "{problems}");
}

#[test]
fn small_things_keep_their_meaning() {
    let declared = good(
        "services:\n  a:\n    image: x\n    restart: no\n    environment: {A: 010, B: yes, C: 1.10, D: , E: $$x}\n    command: echo $$HOME\n    volumes: [/cache]\n    cap_add: [CHOWN]\n    cap_drop: [ALL]\n    privileged: false\n  b:\n    image: y\n    scale: 3\n    mem_limit: 64m\n    cpus: 1.5\n    healthcheck: {disable: true}\n    secrets: [token]\nsecrets:\n  token: {external: true}\n",
    );
    let a = service(&declared, "a");
    assert_eq!(a.restart, RestartPolicy::Never);
    let variables: Vec<String> = a.variables.iter().map(|(k, v)| format!("{k}={v}")).collect();
    assert_eq!(variables, ["A=010", "B=yes", "C=1.10", "E=$x"]);
    assert_eq!(a.command.as_ref().unwrap(), &["echo", "$HOME"]);
    assert_eq!(a.volumes[0].name.as_str(), "cache");
    assert_eq!(a.strategy, Strategy::Recreate);
    let b = service(&declared, "b");
    assert_eq!((b.replicas, b.health.probe.clone()), (Some(3), Probe::Process));
    assert_eq!(
        (b.resources.cpu_millis, b.resources.memory.unwrap().0),
        (Some(1500), 64 << 20)
    );
    assert_eq!(b.required_secrets, ["token"]);
    assert!(declared.secrets.iter().all(|s| s.from != SecretFrom::Generated));
    assert!(declared.secrets.is_empty());
}

#[test]
fn a_folder_with_nothing_else_is_its_compose_file() {
    let compose = ("docker-compose.yml", "services:\n  a: {image: x}\n");
    let declared = declare(&Files::new(&[compose]), &Ask::default()).unwrap();
    assert_eq!(declared.services[0].name.as_str(), "a");
    assert_eq!(declared.words.compose.as_deref(), Some("docker-compose.yml"));
    let beside = declare(&Files::new(&[compose, ("Dockerfile", "FROM x")]), &Ask::default()).unwrap();
    assert_eq!(beside.services[0].name.as_str(), "web");
    assert!(
        beside.notes[0].contains("nonna deploy docker-compose.yml"),
        "{:?}",
        beside.notes
    );
}

#[test]
fn variables_do_not_make_endless_text() {
    let value = "x".repeat(30_000);
    let text = format!(
        "services:\n  a:\n    image: x\n    environment: [\"B={}\"]\n",
        "$A".repeat(1000)
    );
    let problems = read_with(&[("compose.yaml", &text)], &[("A", &value)]).unwrap_err();
    assert!(problems.to_string().contains("more text"), "{problems}");
}

proptest! {
    #[test]
    fn any_compose_file_is_read_or_refused(
        lines in prop::collection::vec(
            "( {0,6})(services|a|b|image|build|ports|volumes|environment|depends_on|deploy|healthcheck|<<|secrets|extends|include|command)?(: ?)(x|\\[a, b\\]|\\{a: b\\}|\\*a|&a|80:80|\\$\\{A:-b\\}|\\./x:/y|s:/y|- x|)?",
            0..14,
        )
    ) {
        let text = lines.join("\n");
        let _ = read_with(&[("compose.yaml", &text)], &[]).map_err(|problems| problems.to_string());
    }
}
