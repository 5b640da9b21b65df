-- +goose Up

CREATE TABLE orders (
  order_no        CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- a ULID
  group_id        CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- the orders that share one half message
  user_id         VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  idempotency_key VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NULL, -- NULL frees the key for a retry
  request_hash    CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  response_status SMALLINT NOT NULL DEFAULT 0, -- 0: no answer yet
  response_body   JSON NULL,                   -- what a repeat of the request gets
  status          VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reason          VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '', -- a fault code
  amount_cents    BIGINT NULL,                 -- known when PLACED
  flow            VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  strategy        VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '', -- asked for, '' being inventory's own; once PLACED the one that reserved
  created_at      DATETIME(6) NOT NULL,
  updated_at      DATETIME(6) NOT NULL,
  expires_at      DATETIME(6) NULL,            -- known when PLACED
  paid_at         DATETIME(6) NULL,
  settled_at      DATETIME(6) NULL,            -- inventory is known to agree with a final status
  PRIMARY KEY (order_no),
  UNIQUE KEY orders_idempotency (user_id, idempotency_key),
  KEY orders_user (user_id, order_no),
  KEY orders_group (group_id),
  KEY orders_sweep (status, created_at),
  KEY orders_expiry (status, expires_at),
  KEY orders_unsettled (settled_at, status, updated_at)
) ENGINE = InnoDB;

CREATE TABLE order_items (
  order_no         CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  sku              VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  title            VARCHAR(200) CHARACTER SET utf8mb4 NULL, -- title and price come with inventory's receipt
  quantity         BIGINT NOT NULL,
  unit_price_cents BIGINT NULL,
  PRIMARY KEY (order_no, sku),
  KEY order_items_sku (sku),
  CONSTRAINT order_items_quantity CHECK (quantity > 0)
) ENGINE = InnoDB;

-- The outbox: a message is written in the transaction whose effect it announces, and sent afterwards by the relay. That
-- is the local message table of the course. event_id makes writing one event twice impossible.
CREATE TABLE outbox (
  id         BIGINT NOT NULL AUTO_INCREMENT,
  event_id   VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- order number + event
  topic      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  shard      SMALLINT NOT NULL,
  shard_key  VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  payload    JSON NOT NULL,
  request_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  deliver_at DATETIME(6) NULL, -- NULL: at once
  created_at DATETIME(6) NOT NULL,
  sent_at    DATETIME(6) NULL,
  attempts   INT NOT NULL DEFAULT 0,
  PRIMARY KEY (id),
  UNIQUE KEY outbox_event (event_id),
  KEY outbox_unsent (sent_at, shard, id)
) ENGINE = InnoDB;

-- One row a shard. A relay that holds the lease is the only one that sends the shard's messages, so two replicas share
-- the work and never send one order's events out of order.
CREATE TABLE outbox_shards (
  shard       SMALLINT NOT NULL,
  owner       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  lease_until DATETIME(6) NOT NULL,
  PRIMARY KEY (shard)
) ENGINE = InnoDB;

INSERT INTO outbox_shards (shard, lease_until) VALUES
  (0, '2000-01-01'), (1, '2000-01-01'), (2, '2000-01-01'), (3, '2000-01-01'),
  (4, '2000-01-01'), (5, '2000-01-01'), (6, '2000-01-01'), (7, '2000-01-01'),
  (8, '2000-01-01'), (9, '2000-01-01'), (10, '2000-01-01'), (11, '2000-01-01'),
  (12, '2000-01-01'), (13, '2000-01-01'), (14, '2000-01-01'), (15, '2000-01-01');

-- +goose Down
DROP TABLE outbox_shards;
DROP TABLE outbox;
DROP TABLE order_items;
DROP TABLE orders;
