-- +goose Up
-- Layout "redis": free units are counted in Redis, and MySQL follows. What Redis decides comes through one stream, whose
-- entries are applied here in order.

-- The MySQL side of a SKU in Redis: its counters as of the last entry that was applied. The stock row stays the SKU's store
-- room.
CREATE TABLE stock_redis (
  sku        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  laid       BIGINT NOT NULL DEFAULT 0, -- units that ever went from the store room to Redis; it only grows
  available  BIGINT NOT NULL DEFAULT 0,
  reserved   BIGINT NOT NULL DEFAULT 0,
  sold       BIGINT NOT NULL DEFAULT 0,
  opening    BIGINT NOT NULL DEFAULT 0, -- grows when the SKU is closed: whoever opens it has to know the newest
  version    BIGINT NOT NULL DEFAULT 0,
  updated_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (sku),
  CONSTRAINT stock_redis_available CHECK (available >= 0),
  CONSTRAINT stock_redis_reserved CHECK (reserved >= 0),
  CONSTRAINT stock_redis_sold CHECK (sold >= 0)
) ENGINE = InnoDB;

-- Where a SKU goes that is on its way out of Redis, so that somebody else can finish the move. Its layout is "moving" then.
ALTER TABLE stock
  ADD COLUMN moves_to VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  ADD COLUMN moves_to_buckets INT NOT NULL DEFAULT 0;

-- How far MySQL has followed, one row. Whoever writes has claimed the fence with the token of its lease.
CREATE TABLE redis_stream (
  id          TINYINT NOT NULL,
  fence       BIGINT NOT NULL DEFAULT 0,
  epoch       BIGINT NOT NULL DEFAULT 0, -- grows with each rebuild of Redis; 0: never opened
  open        TINYINT(1) NOT NULL DEFAULT 0,
  applied_id  VARCHAR(48) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '', -- of the last entry
  applied_seq BIGINT NOT NULL DEFAULT 0, -- its number in this epoch
  applied_net BIGINT NOT NULL DEFAULT 0, -- units taken minus units given back in this epoch, up to it
  PRIMARY KEY (id)
) ENGINE = InnoDB;
INSERT INTO redis_stream (id) VALUES (1);

-- Entries that contradict the ledger, and when Redis was told so.
CREATE TABLE redis_quarantine (
  epoch          BIGINT NOT NULL,
  entry_id       VARCHAR(48) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  operation      VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  order_no       CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  order_lines    TEXT CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reason         VARCHAR(200) NOT NULL,
  sign           TINYINT NOT NULL, -- 1: Redis has to give the lines back, -1: to take them again
  created_at     DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  compensated_at DATETIME(6) NULL,
  PRIMARY KEY (epoch, entry_id)
) ENGINE = InnoDB;

-- Each time Redis had lost what MySQL had not followed yet. operations and units grow as replicas report what they had been
-- answered.
CREATE TABLE redis_losses (
  epoch      BIGINT NOT NULL, -- that ended with it
  reason     VARCHAR(200) NOT NULL,
  seq        BIGINT NOT NULL, -- applied_seq and applied_net at its end
  net        BIGINT NOT NULL,
  operations BIGINT NOT NULL DEFAULT 0,
  units      BIGINT NOT NULL DEFAULT 0,
  noticed_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (epoch)
) ENGINE = InnoDB;

-- +goose Down
DROP TABLE redis_losses;
DROP TABLE redis_quarantine;
DROP TABLE redis_stream;
ALTER TABLE stock DROP COLUMN moves_to, DROP COLUMN moves_to_buckets;
DROP TABLE stock_redis;
