-- +goose Up
-- The jobs that check both ledgers. At most one is queued and one runs; the last ones that have ended are kept.
CREATE TABLE audits (
  id           CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- a ULID
  state        VARCHAR(8) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- queued, running, done, failed
  everything   TINYINT(1) NOT NULL, -- prove settled history again
  checked      BIGINT NOT NULL DEFAULT 0, -- orders read so far
  reached      CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '', -- the last of them
  requested_at DATETIME(6) NOT NULL,
  started_at   DATETIME(6) NULL,
  ended_at     DATETIME(6) NULL,
  report       LONGTEXT CHARACTER SET utf8mb4 NULL, -- JSON
  failure      VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL DEFAULT '',
  PRIMARY KEY (id),
  KEY audits_state (state)
) ENGINE = InnoDB;

-- The roll-up of settled history, one row. totals are the sums over the orders up to cutoff, all of which were proven to
-- be settled and to agree with inventory. The replica that runs a job holds the lease.
CREATE TABLE audit_rollup (
  id          TINYINT NOT NULL,
  cutoff      CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '', -- '': nothing is rolled up
  totals      LONGTEXT CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- JSON
  begun_at    DATETIME(6) NOT NULL, -- when the proof of all history began
  owner       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  lease_until DATETIME(6) NOT NULL,
  PRIMARY KEY (id)
) ENGINE = InnoDB;
INSERT INTO audit_rollup (id, totals, begun_at, lease_until) VALUES (1, '{}', '2000-01-01', '2000-01-01');

-- +goose Down
DROP TABLE audit_rollup;
DROP TABLE audits;
