-- +goose Up

-- The outbox of inventory-srv, with the tables of sql/orders: pkg/outbox describes their columns. Inventory's answers to
-- orders that came by message (the topic stock-reserve) are written here and sent afterwards by the relay.
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
  strikes    INT NOT NULL DEFAULT 0,  -- attempts that failed by the message's own fault
  failed_at  DATETIME(6) NULL,        -- the last attempt that failed
  retry_at   DATETIME(6) NULL,        -- NULL unless the last attempt failed; the year 9999: parked
  parked_at  DATETIME(6) NULL,
  failure    VARCHAR(255) CHARACTER SET utf8mb4 NOT NULL DEFAULT '',
  PRIMARY KEY (id),
  UNIQUE KEY outbox_event (event_id),
  KEY outbox_unsent (sent_at, shard, id),
  KEY outbox_retry (retry_at)
) ENGINE = InnoDB;

-- One row a shard: the holder of the lease is the only relay that sends the shard's messages.
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

-- The answer to each order that came by message. The primary key is the rule that an order is answered once: two
-- deliveries of a message may have different outcomes, and order-srv must not receive both.
CREATE TABLE reserve_answers (
  order_no    CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  delivery    CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- a ULID: the delivery that answered
  refused     TINYINT(1) NOT NULL,                                     -- 0: a receipt
  answered_at DATETIME(6) NOT NULL,
  PRIMARY KEY (order_no)
) ENGINE = InnoDB;

-- +goose Down
DROP TABLE reserve_answers;
DROP TABLE outbox_shards;
DROP TABLE outbox;
