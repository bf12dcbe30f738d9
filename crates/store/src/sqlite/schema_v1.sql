-- Times are milliseconds since 1970, UTC. Ids are text with a prefix that says
-- what they name. JSON is text. What PostgreSQL could not read is avoided.

CREATE TABLE organizations (
    id         TEXT PRIMARY KEY NOT NULL,
    name       TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL
);

-- One row: this installation.
CREATE TABLE installation (
    one          INTEGER PRIMARY KEY CHECK (one = 1),
    id           TEXT NOT NULL,
    organization TEXT NOT NULL REFERENCES organizations (id),
    created_at   BIGINT NOT NULL
);

-- One row: a text sealed under the key that all else is sealed under.
CREATE TABLE seal_check (
    one    INTEGER PRIMARY KEY CHECK (one = 1),
    sealed BLOB NOT NULL
);

CREATE TABLE counters (
    name  TEXT PRIMARY KEY NOT NULL,
    value BIGINT NOT NULL
);

CREATE TABLE projects (
    id           TEXT PRIMARY KEY NOT NULL,
    organization TEXT NOT NULL REFERENCES organizations (id),
    name         TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    UNIQUE (organization, name)
);

CREATE TABLE environments (
    id         TEXT PRIMARY KEY NOT NULL,
    project    TEXT NOT NULL REFERENCES projects (id),
    name       TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    UNIQUE (project, name)
);

CREATE TABLE services (
    id              TEXT PRIMARY KEY NOT NULL,
    environment     TEXT NOT NULL REFERENCES environments (id) ON DELETE CASCADE,
    name            TEXT NOT NULL,
    -- The current release's number; NULL before the first that succeeded.
    current_release INTEGER,
    replicas        INTEGER NOT NULL DEFAULT 0,
    paused          INTEGER NOT NULL DEFAULT 0,
    created_at      BIGINT NOT NULL,
    UNIQUE (environment, name)
);

-- Every volume a release of the service ever named.
CREATE TABLE volumes (
    service TEXT NOT NULL REFERENCES services (id) ON DELETE CASCADE,
    name    TEXT NOT NULL,
    PRIMARY KEY (service, name)
);

CREATE TABLE releases (
    service    TEXT NOT NULL REFERENCES services (id) ON DELETE CASCADE,
    number     INTEGER NOT NULL,
    spec       TEXT NOT NULL,
    image      TEXT,
    state      TEXT NOT NULL,
    reason     TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    -- The deployment that made it.
    deployment TEXT NOT NULL,
    PRIMARY KEY (service, number)
);
CREATE INDEX releases_by_deployment ON releases (deployment);

-- Which versions of secrets a release refers to.
CREATE TABLE release_secrets (
    service TEXT NOT NULL,
    number  INTEGER NOT NULL,
    version BIGINT NOT NULL,
    PRIMARY KEY (service, number, version),
    FOREIGN KEY (service, number) REFERENCES releases (service, number) ON DELETE CASCADE
);
CREATE INDEX release_secrets_by_version ON release_secrets (version);

-- Deployments outlive their environment: how one was destroyed can be read.
CREATE TABLE deployments (
    sequence         INTEGER PRIMARY KEY AUTOINCREMENT,
    id               TEXT NOT NULL UNIQUE,
    environment      TEXT NOT NULL,
    kind             TEXT NOT NULL,
    plan             TEXT NOT NULL,
    actor            TEXT NOT NULL,
    idempotency_key  TEXT,
    request_digest   TEXT,
    state            TEXT NOT NULL,
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    -- Why it is on its way back, once it is.
    turned_back      TEXT,
    outcome          TEXT,
    created_at       BIGINT NOT NULL,
    started_at       BIGINT,
    finished_at      BIGINT,
    -- The number of its last event; stays when events are pruned.
    last_event       BIGINT NOT NULL DEFAULT 0,
    UNIQUE (actor, idempotency_key)
);
CREATE INDEX deployments_by_environment ON deployments (environment, sequence);
CREATE INDEX deployments_unfinished ON deployments (sequence) WHERE finished_at IS NULL;

CREATE TABLE journal (
    deployment TEXT NOT NULL,
    position   INTEGER NOT NULL,
    step       BIGINT NOT NULL,
    mark       TEXT NOT NULL,
    PRIMARY KEY (deployment, position)
);

CREATE TABLE deployment_images (
    deployment TEXT NOT NULL,
    service    TEXT NOT NULL,
    image      TEXT NOT NULL,
    PRIMARY KEY (deployment, service)
);

CREATE TABLE events (
    deployment TEXT NOT NULL,
    sequence   BIGINT NOT NULL,
    body       TEXT NOT NULL,
    PRIMARY KEY (deployment, sequence)
);

CREATE TABLE variables (
    owner      TEXT NOT NULL,
    name       TEXT NOT NULL,
    -- One of the two: the value, or the version of a secret.
    plain      TEXT,
    secret     BIGINT,
    updated_at BIGINT NOT NULL,
    updated_by TEXT NOT NULL,
    PRIMARY KEY (owner, name),
    CHECK ((plain IS NULL) <> (secret IS NULL))
);

CREATE TABLE secret_versions (
    version     BIGINT PRIMARY KEY NOT NULL,
    owner       TEXT NOT NULL,
    name        TEXT NOT NULL,
    sealed      BLOB NOT NULL,
    created_at  BIGINT NOT NULL,
    -- When it ceased to be the current one.
    replaced_at BIGINT
);
CREATE INDEX secret_versions_by_owner ON secret_versions (owner);

CREATE TABLE tokens (
    id           TEXT PRIMARY KEY NOT NULL,
    hash         BLOB NOT NULL UNIQUE,
    name         TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    last_used_at BIGINT,
    expires_at   BIGINT,
    revoked_at   BIGINT
);

CREATE TABLE login_codes (
    hash       BLOB PRIMARY KEY NOT NULL,
    expires_at BIGINT NOT NULL
);

CREATE TABLE blobs (
    kind       TEXT NOT NULL,
    key        TEXT NOT NULL,
    sealed     BLOB NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY (kind, key)
);

CREATE TABLE audit (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    at       BIGINT NOT NULL,
    actor    TEXT NOT NULL,
    address  TEXT,
    action   TEXT NOT NULL,
    target   TEXT NOT NULL,
    detail   TEXT
);

CREATE TABLE build_results (
    service    TEXT NOT NULL REFERENCES services (id) ON DELETE CASCADE,
    source     TEXT NOT NULL,
    image      TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (service, source)
);
