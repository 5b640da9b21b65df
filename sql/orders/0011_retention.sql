-- +goose Up
-- Orders that were paid, after RETENTION. A row moves here from orders with its items, and is never deleted. The key of the
-- request is kept to be read: it is free for another order.
CREATE TABLE orders_archive (
  order_no        CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  group_id        CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  user_id         VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  idempotency_key VARCHAR(255) CHARACTER SET ascii COLLATE ascii_bin NULL,
  status          VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- PAID or REFUND_DUE
  reason          VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  amount_cents    BIGINT NULL,
  flow            VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  strategy        VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  created_at      DATETIME(6) NOT NULL,
  updated_at      DATETIME(6) NOT NULL,
  expires_at      DATETIME(6) NULL,
  paid_at         DATETIME(6) NULL,
  settled_at      DATETIME(6) NULL,
  PRIMARY KEY (order_no),
  KEY orders_archive_user (user_id, order_no)
) ENGINE = InnoDB;

CREATE TABLE order_items_archive (
  order_no         CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  sku              VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  title            VARCHAR(200) CHARACTER SET utf8mb4 NULL,
  quantity         BIGINT NOT NULL,
  unit_price_cents BIGINT NULL,
  PRIMARY KEY (order_no, sku)
) ENGINE = InnoDB;

-- The cut-off of the retention, one row: no order up to this number is in orders, and inventory-srv may archive its
-- reservations up to it.
CREATE TABLE retention (
  id          TINYINT NOT NULL,
  archived_to CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  PRIMARY KEY (id)
) ENGINE = InnoDB;
INSERT INTO retention (id) VALUES (1);

-- What the last proof of all history has found about the sums of SKUs. An audit that finds the same again has no reason to
-- doubt the roll-up. NULL: nothing.
ALTER TABLE audit_rollup ADD COLUMN known LONGTEXT CHARACTER SET ascii COLLATE ascii_bin NULL;

-- +goose Down
ALTER TABLE audit_rollup DROP COLUMN known;
-- The archived orders return. Their digest and answer were not kept: a repeat of such a request is refused as another one.
INSERT INTO orders (order_no, group_id, user_id, idempotency_key, request_digest, response_status, status, reason, amount_cents, flow,
    strategy, created_at, updated_at, expires_at, paid_at, settled_at)
  SELECT order_no, group_id, user_id, NULL, UNHEX('00000000000000000000000000000000'), 201, status, reason, amount_cents, flow,
    strategy, created_at, updated_at, expires_at, paid_at, settled_at FROM orders_archive;
INSERT INTO order_items (order_no, sku, title, quantity, unit_price_cents)
  SELECT order_no, sku, title, quantity, unit_price_cents FROM order_items_archive;
DROP TABLE retention;
DROP TABLE order_items_archive;
DROP TABLE orders_archive;
