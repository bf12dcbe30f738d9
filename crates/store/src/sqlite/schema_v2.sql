-- Repositories on forges that projects are deployed from. What is secret of
-- them is a blob of the kind `forge-connection`, under the connection's id.
CREATE TABLE forge_connections (
    id           TEXT PRIMARY KEY NOT NULL,
    organization TEXT NOT NULL REFERENCES organizations (id),
    project      TEXT NOT NULL,
    url          TEXT NOT NULL,
    body         TEXT NOT NULL,
    created_at   BIGINT NOT NULL,
    UNIQUE (organization, project, url)
);

-- What their webhooks said. Numbers are never used twice.
CREATE TABLE forge_deliveries (
    number     INTEGER PRIMARY KEY AUTOINCREMENT,
    connection TEXT NOT NULL REFERENCES forge_connections (id) ON DELETE CASCADE,
    -- The forge's id of it, and the digest of its body.
    delivery   TEXT NOT NULL,
    digest     TEXT NOT NULL,
    branch     TEXT,
    -- When it happened, as the forge says.
    happened   BIGINT,
    state      TEXT NOT NULL,
    body       TEXT NOT NULL,
    log        TEXT NOT NULL DEFAULT '',
    UNIQUE (connection, delivery)
);
CREATE INDEX forge_deliveries_unfinished ON forge_deliveries (number) WHERE state <> 'done';
