-- +goose Up
-- A SKU's free units may be laid out in other places than its stock row (column layout); what is not laid out stays on
-- the row. places counts the numbers that its buckets and units have been given: none is given twice, so that a number
-- names the same thing for ever, or nothing.
ALTER TABLE stock ADD COLUMN places BIGINT NOT NULL DEFAULT 0;

-- Layout "buckets": the counters of a hot SKU, split over several rows.
CREATE TABLE stock_buckets (
  sku        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  bucket     BIGINT NOT NULL,
  available  BIGINT NOT NULL,
  reserved   BIGINT NOT NULL DEFAULT 0,
  sold       BIGINT NOT NULL DEFAULT 0,
  version    BIGINT NOT NULL DEFAULT 0,
  updated_at DATETIME(6) NOT NULL DEFAULT (UTC_TIMESTAMP(6)),
  PRIMARY KEY (sku, bucket),
  CONSTRAINT stock_buckets_available CHECK (available >= 0),
  CONSTRAINT stock_buckets_reserved CHECK (reserved >= 0),
  CONSTRAINT stock_buckets_sold CHECK (sold >= 0)
) ENGINE = InnoDB;

-- Which bucket an open order's units of a SKU are reserved in. Without a row they are reserved on the stock row.
CREATE TABLE reservation_allocations (
  sku      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  order_no CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  bucket   BIGINT NOT NULL,
  quantity BIGINT NOT NULL,
  PRIMARY KEY (sku, order_no),
  CONSTRAINT reservation_allocations_quantity CHECK (quantity > 0)
) ENGINE = InnoDB;

-- Layout "units": one row is one unit. Free while it names no order.
CREATE TABLE stock_units (
  sku      VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  unit     BIGINT NOT NULL,
  order_no CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NULL,
  sold     TINYINT(1) NOT NULL DEFAULT 0,
  PRIMARY KEY (sku, unit),
  KEY stock_units_order (sku, order_no)
) ENGINE = InnoDB;

-- +goose Down
DROP TABLE stock_units;
DROP TABLE reservation_allocations;
DROP TABLE stock_buckets;
ALTER TABLE stock DROP COLUMN places;
