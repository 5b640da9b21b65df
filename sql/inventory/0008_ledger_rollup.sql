-- +goose Up
-- The audit's roll-up: how many units of each SKU are in confirmed reservations up to an order number. The reservations
-- up to it have ended, and no statement of the service changes one that has ended, so their sums are computed once.
CREATE TABLE ledger_rollup (
  sku       VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
  confirmed BIGINT NOT NULL,
  PRIMARY KEY (sku)
) ENGINE = InnoDB;

-- The cut-off, one row. order_no '': nothing is rolled up.
CREATE TABLE ledger_cutoff (
  id       TINYINT NOT NULL,
  order_no CHAR(26) CHARACTER SET ascii COLLATE ascii_bin NOT NULL DEFAULT '',
  PRIMARY KEY (id)
) ENGINE = InnoDB;
INSERT INTO ledger_cutoff (id) VALUES (1);

-- +goose Down
DROP TABLE ledger_cutoff;
DROP TABLE ledger_rollup;
