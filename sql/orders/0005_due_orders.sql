-- +goose Up
-- due_at is when the next thing is to be done about an order. It is expires_at from the insert on, also when the order
-- becomes PLACED; then the time at which the order ended; NULL once inventory is known to agree with the end. So one
-- key finds what is to be expired and what is to be settled. It takes the place of orders_sweep, orders_expiry and
-- orders_unsettled, which replicas drop when no replica of the version before this one needs them; orders_group had no
-- reader.
--
-- A row is written lean from then on: request_digest is NOT NULL and has the first half of the hash, request_hash is
-- NULL, and the answer about a PLACED order is made from the row again instead of being stored.
ALTER TABLE orders
  ADD COLUMN due_at         DATETIME(6) NULL,
  ADD COLUMN request_digest BINARY(16) NULL;
ALTER TABLE orders
  MODIFY COLUMN request_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL;
ALTER TABLE orders
  ADD KEY orders_due (due_at),
  DROP KEY orders_group;
ALTER TABLE order_items
  DROP KEY order_items_sku; -- nothing looks for the orders of a SKU

-- How the orders are written and read. The table has one row. Each transaction that inserts orders reads it with a
-- shared lock, so a change of the row waits for the orders that were inserted by the row before it.
CREATE TABLE order_form (
  id       TINYINT NOT NULL,
  stage    TINYINT NOT NULL, -- 0: replicas of the version before may run; 1: due_at of their orders is filled in; 2: done
  swept_to CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '', -- no order up to this number is PENDING or will be
  PRIMARY KEY (id)
) ENGINE = InnoDB;
INSERT INTO order_form (id, stage) SELECT 1, IF(EXISTS (SELECT 1 FROM orders), 0, 2);

-- How far due_at is filled in. The table has one row.
CREATE TABLE order_backfill (
  id       TINYINT NOT NULL,
  dated_to CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  dated    BIGINT NOT NULL DEFAULT 0, -- orders that the current pass has changed; a pass that changes none is the last
  PRIMARY KEY (id)
) ENGINE = InnoDB;
INSERT INTO order_backfill (id) VALUES (1);

-- +goose Down
DROP TABLE order_backfill;
DROP TABLE order_form;
ALTER TABLE order_items ADD KEY order_items_sku (sku);
SET @keys = IF(EXISTS (SELECT 1 FROM information_schema.statistics
  WHERE table_schema = DATABASE() AND table_name = 'orders' AND index_name = 'orders_sweep'), 'DO 0',
  'ALTER TABLE orders ADD KEY orders_sweep (status, created_at), ADD KEY orders_expiry (status, expires_at), ADD KEY orders_unsettled (settled_at, status, updated_at)');
PREPARE restore FROM @keys;
EXECUTE restore;
DEALLOCATE PREPARE restore;
ALTER TABLE orders ADD KEY orders_group (group_id), DROP KEY orders_due;
-- A repeat of a lean order's request is refused after this: its whole hash and its answer were not stored.
UPDATE orders SET request_hash = LOWER(HEX(request_digest)) WHERE request_hash IS NULL;
ALTER TABLE orders
  MODIFY COLUMN request_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  DROP COLUMN request_digest,
  DROP COLUMN due_at;
