-- +goose Up
-- The lines of confirmed reservations, after order-srv's RETENTION. A reservation moves here from reservations and
-- reservation_lines, and is never deleted.
CREATE TABLE reservation_archive (
  order_no         CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  sku              VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  quantity         INT UNSIGNED NOT NULL,
  unit_price_cents BIGINT NOT NULL,
  strategy         VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_at       DATETIME(6) NOT NULL,
  confirmed_at     DATETIME(6) NOT NULL,
  PRIMARY KEY (order_no, sku)
) ENGINE = InnoDB;

-- The cut-off of the retention, one row: no reservation up to this number is in reservations.
CREATE TABLE retention (
  id          TINYINT NOT NULL,
  archived_to CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  PRIMARY KEY (id)
) ENGINE = InnoDB;
INSERT INTO retention (id) VALUES (1);

-- How many free rows a SKU of the layout units has, as a worker counted them. version grows when rows are made or removed
-- under the lock of the stock row: a count that began before is not written.
CREATE TABLE unit_counts (
  sku        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  free       BIGINT NOT NULL,
  version    BIGINT NOT NULL DEFAULT 0,
  counted_at DATETIME(6) NOT NULL,
  PRIMARY KEY (sku)
) ENGINE = InnoDB;
INSERT INTO unit_counts (sku, free, counted_at)
  SELECT sku, SUM(order_no IS NULL), UTC_TIMESTAMP(6) FROM stock_units GROUP BY sku;

-- +goose Down
DROP TABLE unit_counts;
-- The archived reservations return, each in the form of several lines. The hash of their lines was not kept.
INSERT INTO reservations (order_no, status, request_hash, strategy, created_at, updated_at)
  SELECT order_no, 'confirmed', '', MIN(strategy), MIN(created_at), MIN(confirmed_at) FROM reservation_archive GROUP BY order_no;
INSERT INTO reservation_lines (order_no, sku, quantity, unit_price_cents)
  SELECT order_no, sku, quantity, unit_price_cents FROM reservation_archive;
DROP TABLE retention;
DROP TABLE reservation_archive;
