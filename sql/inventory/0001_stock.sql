-- +goose Up
-- All identifiers are compared byte by byte: with a default collation SKU-1 and sku-1 would be one row here and two in Go.

CREATE TABLE products (
  sku         VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  title       VARCHAR(200) CHARACTER SET utf8mb4 NOT NULL,
  price_cents BIGINT NOT NULL,
  created_at  DATETIME(6) NOT NULL,
  PRIMARY KEY (sku),
  CONSTRAINT products_price CHECK (price_cents >= 0)
) ENGINE = InnoDB;

-- One row is one SKU's stock. The checks are the last line of defence: whatever a strategy does wrong, no counter goes below zero.
CREATE TABLE stock (
  sku        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  layout     VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT 'row',
  available  BIGINT NOT NULL DEFAULT 0, -- free to sell
  reserved   BIGINT NOT NULL DEFAULT 0, -- promised to orders that are not paid yet
  sold       BIGINT NOT NULL DEFAULT 0, -- paid for
  version    BIGINT NOT NULL DEFAULT 0, -- grows with every UPDATE
  fence      BIGINT NOT NULL DEFAULT 0, -- the newest fencing token that claimed this row (pkg/lock)
  updated_at DATETIME(6) NOT NULL,
  PRIMARY KEY (sku),
  CONSTRAINT stock_available CHECK (available >= 0),
  CONSTRAINT stock_reserved CHECK (reserved >= 0),
  CONSTRAINT stock_sold CHECK (sold >= 0)
) ENGINE = InnoDB;

-- Every unit that ever came in. reference is the caller's: an inbound sent twice counts once.
CREATE TABLE stock_inbound (
  id         BIGINT NOT NULL AUTO_INCREMENT,
  sku        VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  quantity   BIGINT NOT NULL,
  reference  VARCHAR(128) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  reason     VARCHAR(200) CHARACTER SET utf8mb4 NOT NULL,
  actor      VARCHAR(64) CHARACTER SET utf8mb4 NOT NULL,
  created_at DATETIME(6) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY stock_inbound_reference (reference),
  KEY stock_inbound_sku (sku),
  CONSTRAINT stock_inbound_quantity CHECK (quantity > 0)
) ENGINE = InnoDB;

-- The header of what an order holds. Its primary key serialises duplicates of one order. status: reserved, confirmed,
-- released, or void, the tombstone: released before it was ever reserved, so that a late reserve is refused.
CREATE TABLE reservations (
  order_no     CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  status       VARCHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  request_hash CHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, -- '' for a tombstone
  strategy     VARCHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  created_at   DATETIME(6) NOT NULL,
  updated_at   DATETIME(6) NOT NULL,
  PRIMARY KEY (order_no),
  KEY reservations_open (status, created_at)
) ENGINE = InnoDB;

-- Every unit that was ever promised: the right side of the audit's equation.
CREATE TABLE reservation_lines (
  order_no         CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  sku              VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  quantity         BIGINT NOT NULL,
  unit_price_cents BIGINT NOT NULL,
  PRIMARY KEY (order_no, sku),
  KEY reservation_lines_sku (sku),
  CONSTRAINT reservation_lines_quantity CHECK (quantity > 0)
) ENGINE = InnoDB;

-- +goose Down
DROP TABLE reservation_lines;
DROP TABLE reservations;
DROP TABLE stock_inbound;
DROP TABLE stock;
DROP TABLE products;
